//! Parses as much of Rust as is needed to see which file uses which other: modules, definitions,
//! imports, paths.
//!
//! Tests, comments, strings and generated code are left out. Names that macros define are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A word, `::`, or another character that is not white space.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

/// A path from the root of the crate, without `crate`.
type Segments = Vec<String>;

#[derive(Debug)]
struct Import {
    path: Segments,
    /// The name it has here, or `*` for all names of a module.
    alias: String,
    public: bool,
    /// `pub`, `pub(crate)`, ..
    forwards: bool,
    line: usize,
}

/// A module: a file, or part of one.
#[derive(Debug, Default)]
struct Module {
    file: usize,
    /// Names defined here, and whether they are public to all.
    definitions: BTreeMap<String, bool>,
    /// Modules declared here, and whether they are public to all.
    children: BTreeMap<String, bool>,
    imports: Vec<Import>,
    /// Paths outside of imports, and their lines.
    paths: Vec<(Segments, usize)>,
    /// Words outside of imports.
    words: BTreeSet<String>,
}

/// The modules of a crate.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: Vec<String>,
    modules: BTreeMap<Segments, Module>,
}

/// A use of another room or file by one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The first module of the path.
    pub(crate) room: String,
    /// Whether users of the crate may write the same path.
    pub(crate) public: bool,
    /// The file that defines the used name.
    pub(crate) target: String,
}

impl Tree {
    /// All of `src/` and `codecs/` below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        fn collect(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, into);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    into.push(path);
                }
            }
        }
        let mut paths = Vec::new();
        for folder in ["src", "codecs"] {
            collect(&root.join(folder), &mut paths);
        }
        let sources = paths.iter().map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            (name, fs::read_to_string(path).unwrap())
        });
        Self::from_sources(sources)
    }

    pub(crate) fn from_sources(sources: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut tree = Self::default();
        let mut tests = BTreeSet::new();
        let mut sources: Vec<_> =
            sources.into_iter().filter(|(name, _)| !name.ends_with("generated.rs")).collect();
        sources.sort();
        for (name, text) in sources {
            let path = module_of(&name);
            tree.files.push(name);
            let file = tree.files.len() - 1;
            let tokens = without_tests(&tokens(&text), &path, &mut tests);
            tree.parse(file, &path, &tokens);
        }
        tree.modules.retain(|path, _| !(1..=path.len()).any(|n| tests.contains(&path[..n])));
        tree
    }

    /// The modules at the root.
    pub(crate) fn rooms(&self) -> BTreeSet<String> {
        self.modules.keys().filter_map(|path| path.first().cloned()).collect()
    }

    fn parse(&mut self, file: usize, path: &[String], tokens: &[Token]) {
        self.modules.insert(path.to_vec(), Module { file, ..Module::default() });
        // The enclosing modules, and the depth of braces at which each ends.
        let mut around = vec![(path.to_vec(), 0)];
        let (mut depth, mut at) = (0, 0);
        while at < tokens.len() {
            let (current, floor) = around.last().cloned().unwrap();
            let text = |offset: usize| tokens.get(at + offset).map_or("", |token| token.text.as_str());
            let line = tokens[at].line;
            match text(0) {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if around.len() > 1 && depth == floor - 1 {
                        around.pop();
                    }
                }
                "pub" if text(1) == "(" => {
                    at += tokens[at..].iter().position(|token| token.text == ")").unwrap() + 1;
                    continue;
                }
                "mod" if text(2) == ";" => {
                    let (public, _) = visibility(&tokens[..at]);
                    self.modules.get_mut(&current).unwrap().children.insert(text(1).to_owned(), public);
                    at += 2;
                }
                "mod" if text(2) == "{" => {
                    let (public, _) = visibility(&tokens[..at]);
                    self.modules.get_mut(&current).unwrap().children.insert(text(1).to_owned(), public);
                    let inner = [current.as_slice(), &[text(1).to_owned()]].concat();
                    self.modules.insert(inner.clone(), Module { file, ..Module::default() });
                    around.push((inner, depth + 1));
                    depth += 1;
                    at += 2;
                }
                // Not the `use<..>` of a return type.
                "use" if text(1) != "<" => {
                    let end = at + tokens[at..].iter().position(|token| token.text == ";").unwrap();
                    let (public, forwards) = visibility(&tokens[..at]);
                    let mut tree = UseTree { tokens: &tokens[at + 1..end], at: 0, found: Vec::new() };
                    tree.parse(&mut Vec::new());
                    for (segments, alias) in tree.found {
                        let import = Import { path: segments, alias, public, forwards, line };
                        self.modules.get_mut(&current).unwrap().imports.push(import);
                    }
                    at = end;
                }
                "struct" | "enum" | "union" | "fn" | "trait" | "const" | "static" | "type"
                | "macro_rules"
                    if depth == floor =>
                {
                    let is_name = |n: &usize| {
                        !["const", "fn", "mut", "unsafe", "async", "extern", "!"].contains(&text(*n))
                    };
                    let name = text((1..6).find(is_name).unwrap_or(1)).to_owned();
                    let (public, _) = visibility(&tokens[..at]);
                    self.modules.get_mut(&current).unwrap().definitions.insert(name, public);
                }
                head if is_word(head) => {
                    let module = self.modules.get_mut(&current).unwrap();
                    module.words.insert(head.to_owned());
                    let continues = at > 0 && ["::", "."].contains(&tokens[at - 1].text.as_str());
                    if text(1) == "::" && !continues {
                        let mut segments = vec![head.to_owned()];
                        let mut next = 1;
                        while text(next) == "::" && is_word(text(next + 1)) {
                            segments.push(text(next + 1).to_owned());
                            next += 2;
                        }
                        module.paths.push((segments, line));
                        // The words of the path are also looked at one by one.
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// The path from the root that `segments` stand for in module `current`.
    ///
    /// `None` for other crates, and for paths that do not start with a module.
    fn absolute(&self, current: &[String], segments: &[String]) -> Option<Segments> {
        let (head, rest) = segments.split_first()?;
        let mut base = current.to_vec();
        match head.as_str() {
            "crate" => return Some(rest.to_vec()),
            "self" => {}
            "super" => {
                base.pop()?;
            }
            _ if self.modules.contains_key(&[current, std::slice::from_ref(head)].concat()) => {
                base.push(head.clone());
            }
            _ => return None,
        }
        let climbs = rest.iter().take_while(|segment| *segment == "super").count();
        base.truncate(base.len() - climbs);
        base.extend_from_slice(&rest[climbs..]);
        Some(base)
    }

    /// Like [`absolute`](Self::absolute), but the path may also start with a module that was imported.
    fn absolute_in(&self, current: &[String], segments: &[String]) -> Option<Segments> {
        self.absolute(current, segments).or_else(|| {
            let head = segments.first()?;
            let import = self.modules[current].imports.iter().find(|import| import.alias == *head)?;
            let mut path = self.absolute(current, &import.path)?;
            self.modules.contains_key(&path).then(|| {
                path.extend_from_slice(&segments[1..]);
                path
            })
        })
    }

    /// The module that defines the item at `path`, and whether the path is public to all.
    fn resolve(&self, path: &[String], depth: usize) -> Option<(&Module, bool)> {
        let known = (0..=path.len()).rev().find(|&n| self.modules.contains_key(&path[..n]))?;
        let module = &self.modules[&path[..known]];
        let modules_are_public = (1..=known)
            .all(|n| self.modules[&path[..n - 1]].children.get(&path[n - 1]).copied().unwrap_or(false));
        let Some(name) = path.get(known) else { return Some((module, modules_are_public)) };
        if let Some(public) = module.definitions.get(name) {
            return Some((module, *public && modules_are_public));
        }
        if depth == 0 {
            return None;
        }
        let here = &path[..known];
        let through = |import: &Import, rest: &[String]| {
            let target = [self.absolute_in(here, &import.path)?.as_slice(), rest].concat();
            let (module, _) = self.resolve(&target, depth - 1)?;
            Some((module, import.public && modules_are_public))
        };
        let named = module.imports.iter().find(|import| import.alias == *name);
        named.and_then(|import| through(import, &path[known + 1..])).or_else(|| {
            let globs = module.imports.iter().filter(|import| import.alias == "*");
            globs.into_iter().find_map(|import| through(import, &path[known..]))
        })
    }

    fn use_of(&self, module: &Module, line: usize, path: &[String]) -> Option<Use> {
        let n_modules = (0..=path.len()).rev().find(|&n| self.modules.contains_key(&path[..n]))?;
        let innermost = &self.modules[&path[..n_modules]];
        if path.get(n_modules).is_some_and(|name| innermost.children.contains_key(name)) {
            // Generated code, or code of a test.
            return None;
        }
        // A name that is not found is defined by a macro.
        let (target, public) = self.resolve(path, 8).unwrap_or((innermost, false));
        // A name that the root re-exports belongs to the room that defines it.
        let room = match path.first() {
            Some(first) if self.modules.contains_key(std::slice::from_ref(first)) => first.clone(),
            _ => self.path_of(target).first().cloned().unwrap_or_else(|| "lib".into()),
        };
        let (file, target) = (self.files[module.file].clone(), self.files[target.file].clone());
        Some(Use { file, line, room, public, target })
    }

    fn path_of(&self, module: &Module) -> Segments {
        module_of(&self.files[module.file])
    }

    /// Everything that files name, by imports and by paths, including re-exported names.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (current, module) in &self.modules {
            for import in &module.imports {
                let path = self.absolute(current, &import.path);
                uses.extend(path.and_then(|path| self.use_of(module, import.line, &path)));
            }
            for (segments, line) in &module.paths {
                let path = self.absolute(current, segments);
                uses.extend(path.and_then(|path| self.use_of(module, *line, &path)));
            }
        }
        uses.sort();
        uses.dedup();
        uses
    }

    /// Which file needs which others.
    ///
    /// A file does not need a name that it only re-exports. A module is needed if something in it is
    /// named.
    pub(crate) fn needs(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut needs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (current, module) in &self.modules {
            let mut paths = Vec::new();
            for import in &module.imports {
                let Some(path) = self.absolute(current, &import.path) else { continue };
                let forwarded = import.forwards && !module.words.contains(&import.alias);
                if !forwarded && !self.modules.contains_key(&path) {
                    paths.push((path, import.line));
                }
            }
            for (segments, line) in &module.paths {
                paths.extend(self.absolute_in(current, segments).map(|path| (path, *line)));
            }
            for (path, line) in paths {
                let Some(Use { file, target, .. }) = self.use_of(module, line, &path) else { continue };
                if file != target {
                    needs.entry(file).or_default().insert(target);
                }
            }
        }
        needs
    }
}

/// `crate::` path of the module in a file.
pub(crate) fn module_of(file: &str) -> Segments {
    let path = file.strip_prefix("src/").unwrap_or(file).trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(Into::into).collect() }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Whether the item that starts after `before` is `pub`, and whether it is public to all.
fn visibility(before: &[Token]) -> (bool, bool) {
    // `const fn`, `unsafe fn` and the like may stand in between.
    let mut rest = before;
    loop {
        match rest.split_last() {
            Some((last, more)) if ["const", "unsafe", "async", "extern"].contains(&last.text.as_str()) => {
                rest = more;
            }
            Some((last, _)) if last.text == "pub" => return (true, true),
            Some((last, more)) if last.text == ")" => {
                let open = more.iter().rposition(|token| token.text == "(");
                let restricted = open.is_some_and(|open| open > 0 && more[open - 1].text == "pub");
                return (false, restricted);
            }
            _ => return (false, false),
        }
    }
}

/// The paths of a `use`, and the name of each.
struct UseTree<'t> {
    tokens: &'t [Token],
    at: usize,
    found: Vec<(Segments, String)>,
}

impl UseTree<'_> {
    fn text(&self) -> &str {
        self.tokens.get(self.at).map_or("", |token| token.text.as_str())
    }

    fn parse(&mut self, prefix: &mut Segments) {
        let len = prefix.len();
        loop {
            let text = self.text().to_owned();
            self.at += 1;
            match text.as_str() {
                "{" => {
                    while self.text() != "}" {
                        self.parse(prefix);
                        if self.text() == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    break;
                }
                "::" if prefix.is_empty() => {
                    // The path names another crate, whatever modules exist here.
                    prefix.push(String::new());
                    continue;
                }
                "::" => continue,
                "*" => {
                    self.found.push((prefix.clone(), "*".into()));
                    break;
                }
                "self" if !prefix.is_empty() => self.end(prefix),
                word => prefix.push(word.to_owned()),
            }
            if self.text() != "::" {
                if text != "self" || prefix.last().is_some_and(|last| last == "self") {
                    self.end(prefix);
                }
                break;
            }
        }
        prefix.truncate(len);
    }

    /// The path is complete. What follows may rename it.
    fn end(&mut self, prefix: &Segments) {
        let mut alias = prefix.last().cloned().unwrap_or_default();
        if self.text() == "as" {
            alias.clone_from(&self.tokens[self.at + 1].text);
            self.at += 2;
        }
        self.found.push((prefix.clone(), alias));
    }
}

/// Splits source text into tokens. Leaves out comments, strings, characters and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(&c) = chars.get(at) {
        let start = at;
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        let mut push = |text: String| tokens.push(Token { text, line });
        match c {
            '/' if next == '/' => at = find(&chars, at, "\n"),
            '/' if next == '*' => {
                let mut depth = 0;
                loop {
                    if chars[at..].starts_with(&['/', '*']) {
                        (depth, at) = (depth + 1, at + 2);
                    } else if chars[at..].starts_with(&['*', '/']) {
                        (depth, at) = (depth - 1, at + 2);
                        if depth == 0 {
                            break;
                        }
                    } else {
                        at += 1;
                    }
                }
            }
            '"' => {
                at += 1;
                while chars[at] != '"' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            '\'' if next == '\\' => at = find(&chars, at + 3, "'") + 1,
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 3,
            // A lifetime.
            '\'' => at += 1 + chars[at + 1..].iter().take_while(|&&c| is_part(c)).count(),
            'r' if next == '"' || next == '#' && ['#', '"'].contains(&chars[at + 2]) => {
                at = raw_string(&chars, at + 1);
            }
            'b' if next == 'r' && ['#', '"'].contains(&chars[at + 2]) => at = raw_string(&chars, at + 2),
            // The quote is looked at next.
            'b' if ['"', '\''].contains(&next) => at += 1,
            ':' if next == ':' => {
                push("::".into());
                at += 2;
            }
            _ if is_part(c) => {
                at += chars[at..].iter().take_while(|&&c| is_part(c)).count();
                push(chars[start..at].iter().collect());
            }
            _ => {
                if !c.is_whitespace() {
                    push(c.into());
                }
                at += 1;
            }
        }
        line += chars[start..at.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

/// Where `what` is next, or the end.
fn find(chars: &[char], from: usize, what: &str) -> usize {
    let what: Vec<char> = what.chars().collect();
    (from..chars.len()).find(|&at| chars[at..].starts_with(&what)).unwrap_or(chars.len())
}

/// The end of a raw string whose `#` or quote is at `at`.
fn raw_string(chars: &[char], at: usize) -> usize {
    let n = chars[at..].iter().take_while(|&&c| c == '#').count();
    let end = format!("\"{}", "#".repeat(n));
    find(chars, at + n + 1, &end) + end.len()
}

/// Leaves out attributes, and items that only tests have. Modules of tests that are files go to `tests`.
fn without_tests(tokens: &[Token], path: &[String], tests: &mut BTreeSet<Segments>) -> Vec<Token> {
    let (mut left, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let opens = tokens[at].text == "#"
            && tokens[at + 1..].iter().take(2).find(|token| token.text != "!").is_some_and(|t| t.text == "[");
        if !opens {
            left.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = at + closing(&tokens[at..], "[", "]");
        let words: Vec<_> = tokens[at..end].iter().map(|token| token.text.as_str()).collect();
        at = end;
        let is_test = words.starts_with(&["#", "[", "cfg", "("])
            && words.iter().any(|word| ["test", "doctest"].contains(word))
            && !words.contains(&"any")
            && !words.contains(&"not");
        if is_test {
            let item = item_len(&tokens[at..]);
            let words: Vec<_> = tokens[at..at + item].iter().map(|token| token.text.as_str()).collect();
            if let Some(n) = words.iter().position(|word| *word == "mod")
                && words.get(n + 2) == Some(&";")
            {
                tests.insert([path, &[words[n + 1].to_owned()]].concat());
            }
            at += item;
        }
    }
    left
}

/// How many tokens there are up to the end of the group that opens first.
fn closing(tokens: &[Token], open: &str, close: &str) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        if token.text == open {
            depth += 1;
        } else if token.text == close {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    tokens.len()
}

/// How many tokens an item has.
fn item_len(tokens: &[Token]) -> usize {
    let mut at = 0;
    let mut ends_with_semicolon = false;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "#" if tokens.get(at + 1).is_some_and(|next| next.text == "[") => {
                at += closing(&tokens[at..], "[", "]");
            }
            "(" => at += closing(&tokens[at..], "(", ")"),
            "[" => at += closing(&tokens[at..], "[", "]"),
            "{" => {
                at += closing(&tokens[at..], "{", "}");
                if !ends_with_semicolon {
                    return at;
                }
            }
            ";" => return at + 1,
            "use" | "static" | "type" | "let" => {
                ends_with_semicolon = true;
                at += 1;
            }
            "const" => {
                ends_with_semicolon = tokens.get(at + 1).is_none_or(|next| next.text != "fn");
                at += 1;
            }
            _ => at += 1,
        }
    }
    at
}
