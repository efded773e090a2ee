//! Host and path to Route, for one Listener.
//!
//! Promises: the precedence of docs/protocol.md: exact host, longest wildcard, none; then exact path, longest prefix of
//! path elements, regular expression; then method, number of headers, of query parameters, `order`, `id`. A Route whose
//! host or path is better but whose method, headers or query do not fit gives way to the next. `*.host` stands for one
//! label (Ingress), `**.host` for one or more (Gateway API).
//! Cost: some hash look-ups per request, whatever the number of Routes; expressions are tried one by one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::backend::Backend;
use super::route::Route;
use crate::control::objects::PathKind;
use crate::http::path;

type Map<V> = HashMap<Arc<[u8]>, V, foldhash::fast::RandomState>;

/// A Route with its Backends found.
pub struct Entry {
    pub route: Arc<Route>,
    pub backends: Vec<(Option<Arc<Backend>>, u32)>,
    pub total_weight: u64,
    /// Near the golden section of the total and without a common divisor with it.
    pub stride: u64,
    pub turn: std::sync::atomic::AtomicU64,
    /// Answers while none of the Backends has an endpoint.
    pub fallback: Option<Arc<Backend>>,
    /// In the order of the Route's `mirrors`.
    pub mirrors: Vec<Option<Arc<Backend>>>,
    /// Of `access.request`, and of `errors`.
    pub asked: Option<Arc<Backend>>,
    pub pages: Option<Arc<Backend>>,
}

pub fn stride(total: u64) -> u64 {
    fn divisor(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { divisor(b, a % b) }
    }
    let start = ((total as f64 * 0.618_033_988_75) as u64).max(1);
    (start..).find(|s| divisor(*s, total.max(1)) == 1).unwrap_or(1)
}

/// What a request shows to the router.
pub trait Request {
    fn host(&self) -> &[u8];
    /// In its normal form (`http::path`).
    fn path(&self) -> &[u8];
    fn query(&self) -> &[u8];
    fn method(&self) -> &[u8];
    /// The host as it was sent, with its port.
    fn authority(&self) -> &[u8];
    /// Path and query as they were sent.
    fn target(&self) -> &[u8];
    /// The path as it was sent.
    fn raw_path(&self) -> &[u8] {
        self.target().split(|b| *b == b'?').next().unwrap_or_default()
    }
    fn header(&self, name: &str) -> Option<&[u8]>;
    fn cookie(&self, name: &str) -> Option<&[u8]>;
    /// Shows every value of that name (any case), in order.
    fn each_header(&self, name: &str, visit: &mut dyn FnMut(&[u8]));
    /// Does any header of that name (any case) fit?
    fn any_header(&self, name: &str, fits: &dyn Fn(&[u8]) -> bool) -> bool;
}

/// Hosts share their paths with the routers made of this one, so that another one costs little.
#[derive(Default, Clone)]
pub struct Router {
    exact: Map<Arc<Paths>>,
    /// By the suffix after `*` (with its dot).
    one_label: Map<Arc<Paths>>,
    labels: Map<Arc<Paths>>,
    any: Option<Arc<Paths>>,
}

/// Which host, or which hosts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Exact(Arc<[u8]>),
    OneLabel(Arc<[u8]>),
    Labels(Arc<[u8]>),
    Any,
}

impl Place {
    fn of(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        if let Some(suffix) = host.strip_prefix("**") {
            Self::Labels(suffix.as_bytes().into())
        } else if host == "*" {
            Self::Any
        } else if let Some(suffix) = host.strip_prefix('*') {
            Self::OneLabel(suffix.as_bytes().into())
        } else {
            Self::Exact(host.as_bytes().into())
        }
    }

    fn all(entry: &Entry) -> impl Iterator<Item = Self> {
        let hosts = &entry.route.spec.hosts;
        hosts.iter().map(|host| Self::of(host)).chain(hosts.is_empty().then_some(Self::Any))
    }
}

/// A prefix of characters, whether case is ignored, and its entries.
type Start = (Arc<[u8]>, bool, Vec<Arc<Entry>>);

#[derive(Default)]
struct Paths {
    /// Everything below, by rank.
    entries: Vec<Arc<Entry>>,
    exact: Map<Vec<Arc<Entry>>>,
    exact_folded: Map<Vec<Arc<Entry>>>,
    prefix: Map<Vec<Arc<Entry>>>,
    prefix_folded: Map<Vec<Arc<Entry>>>,
    deepest: usize,
    /// The longest first.
    starts: Vec<Start>,
    regex: Vec<Arc<Entry>>,
}

impl Router {
    pub fn build(entries: impl IntoIterator<Item = Arc<Entry>>) -> Self {
        let mut places: HashMap<Place, Vec<Arc<Entry>>> = HashMap::new();
        for entry in entries {
            for place in Place::all(&entry) {
                places.entry(place).or_default().push(entry.clone());
            }
        }
        let mut router = Self::default();
        places.into_iter().for_each(|(place, entries)| router.put(place, entries));
        router
    }

    /// The router without some entries and with others: only their hosts' paths are made anew.
    pub fn renewed(&self, gone: &[Arc<Entry>], come: &[Arc<Entry>]) -> Self {
        let mut router = self.clone();
        let touched: HashSet<Place> = gone.iter().chain(come).flat_map(|entry| Place::all(entry)).collect();
        for place in touched {
            let left = router.paths(&place).map(|paths| paths.entries.clone()).unwrap_or_default();
            let left = left.into_iter().filter(|one| !gone.iter().any(|other| Arc::ptr_eq(one, other)));
            let here = come.iter().filter(|entry| Place::all(entry).any(|other| other == place));
            let entries = left.chain(here.cloned()).collect();
            router.put(place, entries);
        }
        router
    }

    fn paths(&self, place: &Place) -> Option<&Arc<Paths>> {
        match place {
            Place::Exact(host) => self.exact.get(host),
            Place::OneLabel(suffix) => self.one_label.get(suffix),
            Place::Labels(suffix) => self.labels.get(suffix),
            Place::Any => self.any.as_ref(),
        }
    }

    fn put(&mut self, place: Place, entries: Vec<Arc<Entry>>) {
        let paths = (!entries.is_empty()).then(|| Arc::new(Paths::build(entries)));
        let (map, key) = match place {
            Place::Exact(host) => (&mut self.exact, host),
            Place::OneLabel(suffix) => (&mut self.one_label, suffix),
            Place::Labels(suffix) => (&mut self.labels, suffix),
            Place::Any => {
                self.any = paths;
                return;
            }
        };
        match paths {
            Some(paths) => drop(map.insert(key, paths)),
            None => drop(map.remove(&key)),
        }
    }

    #[cfg(test)]
    pub fn listing(&self) -> Vec<(String, Vec<Arc<Entry>>)> {
        let of = |kind: &str, map: &Map<Arc<Paths>>| {
            let named = |(host, paths): (&Arc<[u8]>, &Arc<Paths>)| (format!("{kind}{host:?}"), paths.entries.clone());
            map.iter().map(named).collect::<Vec<_>>()
        };
        let any = self.any.iter().map(|paths| ("any".to_owned(), paths.entries.clone())).collect();
        [of("", &self.exact), of("*", &self.one_label), of("**", &self.labels), any].concat()
    }

    /// `request.host()` is lower case and without a port.
    pub fn find(&self, request: &dyn Request) -> Option<&Arc<Entry>> {
        let host = request.host();
        if let Some(found) = self.exact.get(host).and_then(|paths| paths.find(request)) {
            return Some(found);
        }
        if !self.one_label.is_empty() || !self.labels.is_empty() {
            let mut first = true;
            for (at, _) in host.iter().enumerate().filter(|&(at, b)| *b == b'.' && at > 0) {
                let suffix = &host[at..];
                if first && let Some(found) = self.one_label.get(suffix).and_then(|paths| paths.find(request)) {
                    return Some(found);
                }
                if let Some(found) = self.labels.get(suffix).and_then(|paths| paths.find(request)) {
                    return Some(found);
                }
                first = false;
            }
        }
        self.any.as_ref()?.find(request)
    }
}

impl Paths {
    fn build(mut entries: Vec<Arc<Entry>>) -> Self {
        entries.sort_by(|a, b| a.route.rank().cmp(&b.route.rank()));
        entries.dedup_by(|a, b| Arc::ptr_eq(a, b)); // a host that is named twice
        let mut paths = Self::default();
        entries.iter().for_each(|entry| paths.add(entry));
        paths.starts.sort_by_key(|(v, ..)| std::cmp::Reverse(v.len()));
        // Stable: those of one expression keep their rank.
        paths.regex.sort_by(|a, b| regex_order(b).cmp(&regex_order(a)));
        paths.entries = entries;
        paths
    }

    fn add(&mut self, entry: &Arc<Entry>) {
        let path = entry.route.spec.matching.path.clone().unwrap_or_default();
        let fold = |value: &str| -> Arc<[u8]> {
            let bytes = path::of_route(value);
            if path.ignore_case { bytes.to_ascii_lowercase().into() } else { bytes.into() }
        };
        match path.kind {
            PathKind::Exact => {
                let map = if path.ignore_case { &mut self.exact_folded } else { &mut self.exact };
                map.entry(fold(&path.value)).or_default().push(entry.clone());
            }
            PathKind::Prefix => {
                let folded = fold(&path.value);
                let value = folded.strip_suffix(b"/").unwrap_or(&folded);
                self.deepest = self.deepest.max(value.iter().filter(|b| **b == b'/').count());
                let map = if path.ignore_case { &mut self.prefix_folded } else { &mut self.prefix };
                map.entry(value.into()).or_default().push(entry.clone());
            }
            PathKind::Starts => {
                let value = fold(&path.value);
                match self.starts.iter_mut().find(|(v, f, _)| *v == value && *f == path.ignore_case) {
                    Some((.., list)) => list.push(entry.clone()),
                    None => self.starts.push((value, path.ignore_case, vec![entry.clone()])),
                }
            }
            PathKind::Regex => self.regex.push(entry.clone()),
        }
    }

    fn find(&self, request: &dyn Request) -> Option<&Arc<Entry>> {
        let path = request.path();
        let plain = self.exact_folded.is_empty() && self.prefix_folded.is_empty();
        let folded =
            if plain && !self.starts.iter().any(|(_, fold, _)| *fold) { Vec::new() } else { path.to_ascii_lowercase() };
        if !self.exact.is_empty() || !self.exact_folded.is_empty() {
            let (a, b) = (self.exact.get(path), self.exact_folded.get(&folded[..]));
            if let Some(found) = best(a, b, request) {
                return Some(found);
            }
        }
        self.find_prefix(path, &folded, request).or_else(|| self.find_regex(path, request))
    }

    /// The longest prefix of elements or of characters.
    fn find_prefix(&self, path: &[u8], folded: &[u8], request: &dyn Request) -> Option<&Arc<Entry>> {
        let mut starts = self.starts.iter().peekable();
        let mut end =
            Some(cut(path, self.deepest)).filter(|_| !self.prefix.is_empty() || !self.prefix_folded.is_empty());
        loop {
            while let Some((value, fold, list)) = starts.next_if(|(v, ..)| end.is_none_or(|e| v.len() > e)) {
                let fits_start = if *fold { folded.starts_with(value) } else { path.starts_with(value) };
                if fits_start && let Some(found) = best(Some(list), None, request) {
                    return Some(found);
                }
            }
            let here = end?;
            let (a, b) = (self.prefix.get(&path[..here]), self.prefix_folded.get(&folded[..here.min(folded.len())]));
            if let Some(found) = best(a, b, request) {
                return Some(found);
            }
            end = path[..here].iter().rposition(|b| *b == b'/');
            if end.is_none() && starts.peek().is_none() {
                return None;
            }
        }
    }

    fn find_regex(&self, path: &[u8], request: &dyn Request) -> Option<&Arc<Entry>> {
        if self.regex.is_empty() {
            return None;
        }
        self.regex.iter().find(|e| e.route.path.as_ref().is_some_and(|r| r.is_match(path)) && fits(&e.route, request))
    }
}

/// The longest expression first; of equally long ones the one that sorts last.
fn regex_order(entry: &Entry) -> (usize, &str) {
    let value = entry.route.spec.matching.path.as_ref().map_or("", |p| &p.value);
    (value.len(), value)
}

/// The end of the first `depth` elements of a path; the whole path when it has no more.
fn cut(path: &[u8], depth: usize) -> usize {
    path.iter().enumerate().filter(|(_, b)| **b == b'/').nth(depth).map_or(path.len(), |(at, _)| at)
}

fn best<'a>(
    a: Option<&'a Vec<Arc<Entry>>>,
    b: Option<&'a Vec<Arc<Entry>>>,
    request: &dyn Request,
) -> Option<&'a Arc<Entry>> {
    let first = |list: Option<&'a Vec<Arc<Entry>>>| list?.iter().find(|e| fits(&e.route, request));
    match (first(a), first(b)) {
        (Some(x), Some(y)) => Some(if x.route.rank() <= y.route.rank() { x } else { y }),
        (x, y) => x.or(y),
    }
}

fn fits(route: &Route, request: &dyn Request) -> bool {
    let method = &route.spec.matching.method;
    (method.is_empty() || method.as_bytes() == request.method())
        && route.headers.iter().all(|m| request.any_header(&m.name, &|value| m.fits(value)))
        && route.query.iter().all(|m| query_value(request.query(), m.name.as_bytes()).is_some_and(|v| m.fits(&v)))
}

/// The first value of a query parameter, percent-decoded; "" when it stands without a value.
pub fn query_value(query: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let mut halves = pair.splitn(2, |b| *b == b'=');
        let key = decode(halves.next().unwrap_or_default());
        (key == name).then(|| decode(halves.next().unwrap_or_default()))
    })
}

/// Percent escapes and plus signs of a query.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|b| (*b as char).to_digit(16));
        rest = tail;
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(first),
        }
    }
    out
}
