//! Answers that the engine gives itself.

pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Answer",
    }
}

/// One whole response. `head_method`: the body is left out, its length is not.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    pub content_type: &'a str,
    pub close: bool,
    pub head_method: bool,
    pub keep_alive10: bool,
    /// More fields, as whole lines.
    pub lines: &'a [u8],
}

impl Answer<'_> {
    pub fn write(&self, output: &mut Vec<u8>) {
        use std::io::Write;
        let _ = write!(output, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        if self.status != 204 {
            let _ = write!(output, "Content-Length: {}\r\n", self.body.len());
            if !self.body.is_empty() && !self.content_type.is_empty() {
                let _ = write!(output, "Content-Type: {}\r\n", self.content_type);
            }
        }
        output.extend_from_slice(self.lines);
        if self.close {
            output.extend_from_slice(b"Connection: close\r\n");
        } else if self.keep_alive10 {
            output.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        output.extend_from_slice(b"\r\n");
        if !self.head_method && self.status != 204 {
            output.extend_from_slice(self.body);
        }
    }
}
