//! Links in the documents lead somewhere, every page is in the index, and no line of prose is too long
//! to edit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most columns of a line of prose. One sentence fits, a paragraph does not.
const MAX_LINE: usize = 300;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages_under(folder: &Path, pages: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages_under(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.insert(path);
        }
    }
}

/// The documents at the root, and those in `docs/`.
fn pages() -> BTreeSet<PathBuf> {
    let mut pages = BTreeSet::new();
    pages_under(&root().join("docs"), &mut pages);
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"] {
        let path = root().join(name);
        if path.exists() {
            pages.insert(path);
        }
    }
    assert!(pages.len() > 10, "the documents are not where this test looks for them: {pages:?}");
    pages
}

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            code = !code;
            return None;
        }
        (!code).then_some((number + 1, line))
    })
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// What the links of a line lead to.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let ends = line.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.to_owned())).collect()
}

/// The fragment by which GitHub and rustdoc link to such a heading.
fn fragment_of(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The fragments that lead to headings of the page. A heading that repeats gets a number.
fn fragments(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::new();
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let fragment = fragment_of(line.trim_start_matches('#').trim());
            let count = seen.entry(fragment.clone()).or_insert(0);
            *count += 1;
            if *count == 1 { fragment } else { format!("{fragment}-{}", *count - 1) }
        })
        .collect()
}

/// Why the link on a page leads nowhere.
fn broken(page: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    if !file.exists() {
        return Some(format!("{} does not exist", file.display()));
    }
    if fragment.is_empty() {
        return None;
    }
    let known = fragments(&fs::read_to_string(&file).unwrap());
    (!known.contains(fragment)).then(|| format!("{} has no heading #{fragment}", file.display()))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut links = 0;
    let mut errors = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (number, line) in prose(&text) {
            for target in targets(line) {
                links += 1;
                let error = broken(&page, &target);
                errors.extend(error.map(|error| format!("{}:{number}: {error}", page.display())));
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(links > 30, "only {links} links were found");
}

#[test]
fn every_page_is_in_the_index() {
    let index = root().join("docs/README.md");
    let text = fs::read_to_string(&index).unwrap();
    let listed: BTreeSet<PathBuf> = prose(&text)
        .flat_map(|(_, line)| targets(line))
        .map(|target| root().join("docs").join(target))
        .collect();
    let mut pages = BTreeSet::new();
    pages_under(&root().join("docs"), &mut pages);
    pages.remove(&index);
    let missing: Vec<_> = pages.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_line_of_prose_is_too_long() {
    let mut errors = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let long = prose(&text)
            .filter(|(_, line)| !line.trim_start().starts_with('|') && line.chars().count() > MAX_LINE);
        errors.extend(
            long.map(|(number, line)| {
                format!("{}:{number}: {} columns", page.display(), line.chars().count())
            }),
        );
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn links_and_headings_are_read_as_renderers_read_them() {
    assert_eq!(targets("see [a](x.md#b) and [`c`](d.md), not `[e](f.md)`"), ["x.md#b", "d.md"]);
    assert_eq!(fragment_of("Verb by verb"), "verb-by-verb");
    assert_eq!(fragment_of("COMMIT (3), METADATA (6)"), "commit-3-metadata-6");
    assert_eq!(fragment_of("`put`, `commit`"), "put-commit");
    let fragments = fragments("# A\n```text\n# not one\n```\n## B c\n## B c\n");
    assert_eq!(fragments.into_iter().collect::<Vec<_>>(), ["a", "b-c", "b-c-1"]);
}
