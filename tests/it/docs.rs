use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::json;

use crate::cli::{longwire, text};
use crate::harness::Authority;

/// Where the documents have files.
const FOLDER: &str = "/etc/longwire";

#[test]
fn every_configuration_is_a_good_one() {
    let files = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    std::fs::write(files.path().join("tokens.pem"), key.public_key_pem()).unwrap();
    // The last bytes of a public key of P-256 are the two coordinates of its point.
    let point = key.der_bytes();
    let (x, y) = point[point.len() - 64..].split_at(32);
    let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y }] });
    std::fs::write(files.path().join("keys.json"), set.to_string()).unwrap();

    let authority = Authority::new();
    std::fs::create_dir(files.path().join("tls")).unwrap();
    for name in ["chat", "wild"] {
        authority.sign(name, &[&format!("{name}.example.com")]);
        for end in ["crt", "key"] {
            let file = format!("{name}.{end}");
            std::fs::copy(authority.file(&file), files.path().join("tls").join(file)).unwrap();
        }
    }
    std::fs::copy(authority.file("ca.pem"), files.path().join("tls/clients.pem")).unwrap();

    let mut count = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let texts = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in texts.chain([root.join("README.md")]) {
        let document = std::fs::read_to_string(&path).unwrap();
        let blocks = document.split("```toml\n").skip(1);
        let blocks: Vec<_> = blocks.map(|block| block.split("```").next().unwrap()).collect();
        // One that begins with its own path in the folder is there for those that include it.
        let (included, whole): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|block| block.starts_with(&format!("# {FOLDER}/conf.d/")));
        for block in included {
            let place = block.lines().next().unwrap().trim_start_matches("# ");
            let place = place.replace(FOLDER, files.path().to_str().unwrap());
            std::fs::create_dir_all(Path::new(&place).parent().unwrap()).unwrap();
            std::fs::write(place, block).unwrap();
        }
        for block in whole {
            // A build without spans refuses it, and says why.
            if block.contains("otlp = { enabled = true") && !cfg!(feature = "otlp") {
                continue;
            }
            let config = files.path().join("longwire.toml");
            std::fs::write(&config, block.replace(FOLDER, files.path().to_str().unwrap())).unwrap();
            let output = longwire(&["check", "-c", config.to_str().unwrap()]);
            let said = text(&output.stderr);
            assert!(output.status.success(), "{}: {said}\n{block}", path.display());
            count += 1;
        }
    }
    assert!(count >= 14, "the documents show {count} configurations");
}
