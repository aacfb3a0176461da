use crate::harness::Peer;

#[tokio::test]
async fn rfc9113_and_rfc7541_by_the_letter() {
    let binary = env!("CARGO_BIN_EXE_longwire");
    let conformance = ["python", "http2-conformance/conformance.py", "--longwire", binary];
    let counts = Peer::run(&conformance).await;
    println!("{counts}");
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert!(count("cases") >= 218, "{counts}");
    assert_eq!(count("failed"), 0, "{counts}");
    // The connection ends as it must, but h2 has one code for all that it cannot make sense of.
    assert!(count("general") <= 34, "{counts}");
    assert!(count("deviations") <= 4, "{counts}");
}
