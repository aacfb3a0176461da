use super::*;

#[test]
fn an_unreadable_file_names_path_and_reason() {
    let error = load(Path::new("/nonexistent/longwire.toml")).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("cannot read /nonexistent/longwire.toml: "), "{message}");
    assert!(message.contains("No such file"), "{message}");
}

#[test]
fn an_endless_file_is_refused() {
    let error = load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(error.contains("larger than"), "{error}");
}

#[test]
fn problems_carry_the_path_as_named() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/bad/empty.toml");
    let error = load(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:1: ", path.display())), "{error}");
}

/// A folder with these files in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

const USEFUL: &str = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n[routes.all]\nrespond = {}\n";

/// Reads `longwire.toml` with that `include`; gives the files of the result and the problems.
fn dependencies(folder: &Path, include: &str) -> (Vec<String>, String) {
    let path = folder.join("longwire.toml");
    fs::write(&path, format!("include = {include}\n{USEFUL}")).unwrap();
    let (files, problems) = match load(&path) {
        Ok(loaded) => (loaded.files, String::new()),
        Err(LoadError::Invalid { errors, files }) => (files, errors.to_string()),
        Err(error) => panic!("{error}"),
    };
    let relative = |path: &PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
    let problems = problems.replace(&format!("{}/", folder.display()), "");
    (files.iter().map(relative).collect(), problems)
}

#[test]
fn it_tells_what_a_configuration_depends_on() {
    let folder = folder(&[
        ("conf.d/b.toml", "[routes.b]\npaths = [\"/b\"]\nrespond = {}\n"),
        ("conf.d/a.toml", "[routes.a]\npaths = [\"/a\"]\nrespond = {}\n"),
        ("conf.d/.c.toml", "an editor's"),
        ("conf.d/notes", "not matched"),
        ("conf.d/d.toml/e.toml", "in a folder"),
        ("more.toml", "[log]\nlevel = \"warn\"\n"),
    ]);
    let include = "[\"conf.d/*.toml\", \"more.toml\", \"*.toml\", \"none/?\", \"conf.d/[a]*\"]";
    let (files, problems) = dependencies(folder.path(), include);
    let expected =
        ["longwire.toml", "conf.d", "conf.d/a.toml", "conf.d/b.toml", "more.toml", "", "none"];
    assert_eq!((files, problems.as_str()), (expected.map(str::to_owned).to_vec(), ""));

    let absolute = format!("[\"{}/conf.d/*.toml\"]", folder.path().display());
    let (files, problems) = dependencies(folder.path(), &absolute);
    let expected = ["longwire.toml", "conf.d", "conf.d/a.toml", "conf.d/b.toml"];
    assert_eq!((files, problems.as_str()), (expected.map(str::to_owned).to_vec(), ""));
}

#[test]
fn it_tells_that_of_a_bad_one_too() {
    let folder = folder(&[("a.toml", "[routes.a]\n")]);
    let (files, problems) = dependencies(folder.path(), "[\"a.toml\", \"b.toml\"]");
    assert_eq!(files, ["longwire.toml", "a.toml", "b.toml"]);
    assert!(problems.contains("include[1]: cannot read b.toml: No such file"), "{problems}");
}

#[test]
fn a_file_that_is_no_text_is_a_problem_where_it_is_named() {
    let folder = folder(&[]);
    fs::write(folder.path().join("a.toml"), b"x = \"\xff\"").unwrap();
    fs::create_dir(folder.path().join("b.toml")).unwrap();
    let (_, problems) = dependencies(folder.path(), "[\"a.toml\", \"b.toml\"]");
    let expected = "longwire.toml:1: include[0]: cannot read a.toml: stream did not contain valid \
                    UTF-8\nlongwire.toml:1: include[1]: cannot read b.toml: Is a directory (os \
                    error 21)";
    assert_eq!(problems, expected);
}

#[test]
fn there_are_not_too_many_files() {
    let names: Vec<_> = (0..defaults::CONFIG_MAX_FILES).map(|n| format!("d/{n:04}.toml")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let folder = folder(&files);
    let (_, problems) = dependencies(folder.path(), "[\"d/*\", \"d/0???.toml\"]");
    let expected =
        "longwire.toml:1: include[0]: expected at most 1000 files, found d/0999.toml too";
    assert_eq!(problems, expected, "the first file is one of them");
    fs::remove_file(folder.path().join("d/0000.toml")).unwrap();
    assert_eq!(dependencies(folder.path(), "[\"d/*\", \"d/0???.toml\"]").1, "");
}

#[test]
fn there_is_not_too_much_in_all_files() {
    let half = format!("#{}\n", "x".repeat(2_000_000));
    let folder = folder(&[("d/a", &half), ("d/b", &half), ("d/c", &half), ("d/d", &half)]);
    let (_, problems) = dependencies(folder.path(), "[\"d/*\", \"/dev/zero\"]");
    let expected = "longwire.toml:1: include[0]: expected at most 4MiB in all files, found more \
                    with d/c";
    assert_eq!(problems, expected, "and nothing is read after it");
    assert_eq!(dependencies(folder.path(), "[\"d/[ab]\"]").1, "");
}
