//! Documents that name files must name files that exist.

/// Every `crates/...` path in backquotes in the given document.
fn paths_in(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|s| {
            ["crates/", "tests/", "benches/", "docs/"]
                .iter()
                .any(|p| s.starts_with(p))
        })
        .map(|s| s.split([':', '#', ' ']).next().unwrap_or(s).to_owned())
        .collect()
}

#[test]
fn documents_name_files_that_exist() {
    let root = super::root();
    let mut documents = vec![root.join("README.md")];
    for dir in ["docs", "docs/adr"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                documents.push(path);
            }
        }
    }
    let mut missing = Vec::new();
    for document in documents {
        for path in paths_in(&std::fs::read_to_string(&document).unwrap()) {
            if !root.join(&path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "documents name files that do not exist:\n{}",
        missing.join("\n")
    );
}
