//! A container's log: CRI's text format (`TIME stdout|stderr F|P line`), rotated by size.
//!
//! Promises: at most 16 KiB of an unfinished line are held per stream (longer lines become `P` pieces and a last `F`,
//! as containerd and CRI-O write them); a file is at most `log_limit_bytes` and one chunk long, at most `log_files` are
//! kept (`log`, `log.1`, …). A full disk loses log lines, never the container: what was lost is counted and said in the
//! log once writing works again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

use super::clock;

const LONGEST_PIECE_BYTES: usize = 16 << 10;
/// The kubelet's containerLogMaxSize and containerLogMaxFiles.
const DEFAULT_LIMIT_BYTES: u64 = 10 << 20;
const DEFAULT_FILES: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One container's log with both of its streams.
pub struct Log {
    file: LogFile,
    unfinished: [Vec<u8>; 2],
}

impl Log {
    pub fn open(path: &str, limit_bytes: u64, files: u32) -> io::Result<Self> {
        Ok(Self { file: LogFile::open(path, limit_bytes, files)?, unfinished: [Vec::new(), Vec::new()] })
    }

    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 4 + 128);
        let time = clock::now_rfc3339();
        format_lines(stream, &time, &mut self.unfinished[stream as usize], bytes, &mut text);
        self.file.write(&text);
    }

    /// The stream is over: what is left without a line's end is a line.
    pub fn finish(&mut self, stream: Stream) {
        let rest = std::mem::take(&mut self.unfinished[stream as usize]);
        if !rest.is_empty() {
            let mut text = Vec::with_capacity(rest.len() + 64);
            push_line(stream, &clock::now_rfc3339(), "F", &[&rest], &mut text);
            self.file.write(&text);
        }
    }
}

fn format_lines(stream: Stream, time: &str, unfinished: &mut Vec<u8>, bytes: &[u8], text: &mut Vec<u8>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = LONGEST_PIECE_BYTES - unfinished.len();
        let end = memchr::memchr(b'\n', rest);
        match end {
            Some(end) if end <= room => {
                push_line(stream, time, "F", &[unfinished, &rest[..end]], text);
                unfinished.clear();
                rest = &rest[end + 1..];
            }
            _ if rest.len() > room => {
                push_line(stream, time, "P", &[unfinished, &rest[..room]], text);
                unfinished.clear();
                rest = &rest[room..];
            }
            _ => {
                unfinished.extend_from_slice(rest);
                return;
            }
        }
    }
    // Memory for a long line is given back once it has been written.
    if unfinished.is_empty() && unfinished.capacity() > 1024 {
        *unfinished = Vec::new();
    }
}

fn push_line(stream: Stream, time: &str, tag: &str, pieces: &[&[u8]], text: &mut Vec<u8>) {
    for word in [time, stream.name(), tag] {
        text.extend_from_slice(word.as_bytes());
        text.push(b' ');
    }
    pieces.iter().for_each(|piece| text.extend_from_slice(piece));
    text.push(b'\n');
}

struct LogFile {
    path: String,
    file: Option<File>,
    size_bytes: u64,
    limit_bytes: u64,
    files: u32,
    lost_bytes: u64,
}

impl LogFile {
    fn open(path: &str, limit_bytes: u64, files: u32) -> io::Result<Self> {
        let file = append_to(path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            size_bytes,
            limit_bytes: if limit_bytes == 0 { DEFAULT_LIMIT_BYTES } else { limit_bytes },
            files: if files == 0 { DEFAULT_FILES } else { files },
            lost_bytes: 0,
        })
    }

    fn write(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if self.size_bytes > 0 && self.size_bytes + text.len() as u64 > self.limit_bytes {
            self.rotate();
        }
        if let Err(error) = self.try_write(text) {
            if self.lost_bytes == 0 {
                complain!("cannot write the log {:?}: {error}", self.path);
            }
            self.lost_bytes += text.len() as u64;
        }
    }

    fn try_write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(append_to(&self.path)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.lost_bytes > 0 {
            let note =
                format!("{} stderr F fairlead: {} bytes of log were lost\n", clock::now_rfc3339(), self.lost_bytes);
            file.write_all(note.as_bytes())?;
            self.lost_bytes = 0;
        }
        file.write_all(text)?;
        self.size_bytes += text.len() as u64;
        Ok(())
    }

    /// Best effort: a name that cannot be moved leaves the log longer than asked, not lost.
    fn rotate(&mut self) {
        for number in (1..self.files.saturating_sub(1)).rev() {
            let _ = fs::rename(format!("{}.{number}", self.path), format!("{}.{}", self.path, number + 1));
        }
        let moved = if self.files > 1 {
            fs::rename(&self.path, format!("{}.1", self.path))
        } else {
            fs::remove_file(&self.path)
        };
        if moved.is_ok() {
            self.file = append_to(&self.path).ok();
            self.size_bytes = 0;
        }
    }
}

fn append_to(path: &str) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<(String, usize)> {
        let (mut unfinished, mut text) = (Vec::new(), Vec::new());
        for chunk in chunks {
            format_lines(Stream::Stdout, "T", &mut unfinished, chunk, &mut text);
        }
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| (line[..10].to_owned(), line.len() - 11)).collect()
    }

    #[test]
    fn a_line_in_pieces_is_one_full_line() {
        assert_eq!(lines(&[b"he", b"llo\nwor", b"ld\n"]), [("T stdout F".to_owned(), 5), ("T stdout F".to_owned(), 5)]);
    }

    #[test]
    fn a_line_past_16_kib_becomes_partial_pieces_and_a_full_one() {
        let long = [vec![b'x'; 40_000], vec![b'\n']].concat();
        let expected = [("T stdout P", 16384), ("T stdout P", 16384), ("T stdout F", 40_000 - 32768)];
        assert_eq!(lines(&[&long]), expected.map(|(tag, size)| (tag.to_owned(), size)));
        let by_byte: Vec<&[u8]> = long.chunks(777).collect();
        assert_eq!(lines(&by_byte), expected.map(|(tag, size)| (tag.to_owned(), size)));
    }

    #[test]
    fn a_line_of_exactly_16_kib_is_one_full_line() {
        let exact = [vec![b'x'; 16384], vec![b'\n']].concat();
        assert_eq!(lines(&[&exact]), [("T stdout F".to_owned(), 16384)]);
    }

    #[test]
    fn files_rotate_by_size_and_the_oldest_goes() {
        let folder = std::env::temp_dir().join(format!("fairlead-logs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("web.log");
        let mut log = Log::open(path.to_str().unwrap(), 100, 3).unwrap();
        for number in 0..10 {
            log.append(Stream::Stderr, format!("line {number}\n").as_bytes());
        }
        let mut names: Vec<String> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let newest = fs::read_to_string(&path).unwrap();
        let older = fs::read_to_string(folder.join("web.log.1")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["web.log", "web.log.1", "web.log.2"]);
        assert!(newest.ends_with("line 9\n") && older.ends_with("line 7\n"), "{newest} {older}");
    }
}
