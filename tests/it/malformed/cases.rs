//! The requests of the table in `docs/requests.md`, byte by byte.

/// What is sent, and what becomes of it.
pub struct Case {
    /// The row of the table.
    pub class: &'static str,
    pub what: String,
    pub bytes: Vec<u8>,
    /// 200 for what goes on to the upstream, else the answer, behind which the connection closes.
    pub status: u16,
    /// What must not reach the upstream of a request that goes on.
    pub gone: &'static [&'static str],
    /// The target and the body that the upstream must understand, if it goes on.
    pub seen: (&'static str, &'static str),
}

/// A request hidden in the body of another; nobody must ever take it for one.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

struct Table(Vec<Case>);

impl Table {
    fn refused(&mut self, class: &'static str, status: u16, what: &str, bytes: impl AsRef<[u8]>) {
        let (what, bytes) = (what.to_owned(), bytes.as_ref().to_vec());
        self.0.push(Case { class, what, bytes, status, gone: &[], seen: ("", "") });
    }

    /// 400 to a GET with these lines behind its first.
    fn lines(&mut self, class: &'static str, cases: &[(&str, &str)]) {
        for (what, lines) in cases {
            self.refused(class, 400, what, format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n"));
        }
    }

    /// 400 to a POST with these fields and, as far as somebody takes them so, a request in the body.
    fn framings(&mut self, class: &'static str, cases: &[(&str, &str)]) {
        for (what, lines) in cases {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n{SMUGGLED}");
            self.refused(class, 400, what, bytes);
        }
    }

    /// 400 to a chunked POST with this body.
    fn chunks(&mut self, class: &'static str, cases: &[(&str, &str)]) {
        for (what, body) in cases {
            self.refused(class, 400, what, format!("{CHUNKED}{body}"));
        }
    }

    /// 400 to a request with this first line.
    fn starts(&mut self, class: &'static str, status: u16, cases: &[(&str, &str)]) {
        for (what, line) in cases {
            self.refused(class, status, what, format!("{line}\r\nHost: a\r\n\r\n"));
        }
    }

    fn passes(
        &mut self,
        what: &str,
        bytes: impl AsRef<[u8]>,
        seen: (&'static str, &'static str),
        gone: &'static [&'static str],
    ) {
        let (what, bytes) = (what.to_owned(), bytes.as_ref().to_vec());
        self.0.push(Case { class: "what passes", what, bytes, status: 200, gone, seen });
    }
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut table = Table(Vec::new());
    framing(&mut table);
    heads(&mut table);
    targets(&mut table);
    bodies(&mut table);
    passes(&mut table);
    table.0
}

fn framing(table: &mut Table) {
    table.framings(
        "two framings",
        &[
            ("both", "Content-Length: 6\r\nTransfer-Encoding: chunked"),
            ("both, the other way", "Transfer-Encoding: chunked\r\nContent-Length: 6"),
            ("both, one in another case", "content-length: 6\r\nTRANSFER-ENCODING: CHUNKED"),
            ("both, the length is zero", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
            (
                "both, and Connection hides one",
                "Content-Length: 6\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding",
            ),
            (
                "both, in a GET's clothes",
                "Transfer-Encoding: chunked\r\nX: 1\r\nContent-Length: 40",
            ),
        ],
    );
    table.framings(
        "lengths",
        &[
            ("two different", "Content-Length: 5\r\nContent-Length: 6"),
            ("two equal", "Content-Length: 5\r\nContent-Length: 5"),
            ("two, one in lower case", "Content-Length: 0\r\ncontent-length: 44"),
            ("a list", "Content-Length: 5, 6"),
            ("a list of equals", "Content-Length: 5, 5"),
            ("a list with an empty member", "Content-Length: 5,"),
            ("a plus", "Content-Length: +5"),
            ("a minus", "Content-Length: -5"),
            ("minus zero", "Content-Length: -0"),
            ("hex", "Content-Length: 0x5"),
            ("a fraction", "Content-Length: 5.0"),
            ("an exponent", "Content-Length: 5e0"),
            ("an underscore", "Content-Length: 1_0"),
            ("a space inside", "Content-Length: 1 0"),
            ("quotes", "Content-Length: \"5\""),
            ("a parameter", "Content-Length: 5;a=b"),
            ("nothing", "Content-Length:"),
            ("white space alone", "Content-Length: \t "),
            ("digits of another script", "Content-Length: \u{ff15}"),
            ("2^64", "Content-Length: 18446744073709551616"),
            ("2^64 + 5", "Content-Length: 18446744073709551621"),
            ("a vertical tab", "Content-Length: \x0b5"),
        ],
    );
    table.framings(
        "codings",
        &[
            ("another first", "Transfer-Encoding: gzip, chunked"),
            ("another last", "Transfer-Encoding: chunked, gzip"),
            ("chunked twice", "Transfer-Encoding: chunked, chunked"),
            ("an empty member first", "Transfer-Encoding: ,chunked"),
            ("an empty member last", "Transfer-Encoding: chunked,"),
            ("two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            (
                "two fields, one of them identity",
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            ),
            (
                "two fields, one of them nonsense",
                "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            ),
            ("identity", "Transfer-Encoding: identity"),
            ("nothing", "Transfer-Encoding:"),
            ("a misspelling", "Transfer-Encoding: xchunked"),
            ("half a word", "Transfer-Encoding: chunk"),
            ("quotes", "Transfer-Encoding: \"chunked\""),
            ("a parameter", "Transfer-Encoding: chunked;a=b"),
            ("a semicolon", "Transfer-Encoding: chunked;"),
            ("a vertical tab before it", "Transfer-Encoding: \x0bchunked"),
            ("a form feed behind it", "Transfer-Encoding: chunked\x0c"),
            ("a no-break space", "Transfer-Encoding:\u{a0}chunked"),
        ],
    );
    for version in ["1.0\r\nConnection: keep-alive", "1.0"] {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\nTransfer-Encoding: chunked");
        let bytes = format!("{head}\r\n\r\n0\r\n\r\n{SMUGGLED}");
        table.refused("codings", 400, "HTTP/1.0", bytes);
    }
}

fn heads(table: &mut Table) {
    for (what, bytes) in [
        ("a bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        ("a bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
        ("a bare LF as the last line", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        ("bare LFs only", "GET / HTTP/1.1\nHost: a\n\n"),
        ("a bare CR behind the request line", "GET / HTTP/1.1\rHost: a\r\n\r\n"),
        (
            "a bare CR in a value",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\rTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("a bare CR at the start of a value", "GET / HTTP/1.1\r\nHost: a\r\nX:\rb\r\n\r\n"),
        ("a bare CR in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\rY: b\r\n\r\n"),
        ("CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
        ("CR CR LF as the last line", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n"),
        ("LF CR", "GET / HTTP/1.1\r\nHost: a\n\r\n\r"),
        ("a bare LF before the request", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a bare CR before the request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        table.refused("line ends", 400, what, bytes);
    }
    table.lines(
        "folded lines",
        &[
            ("a space", "Host: a\r\nX: b\r\n c"),
            ("a tab", "Host: a\r\nX: b\r\n\tc"),
            ("a framing that is folded", "Host: a\r\nTransfer-Encoding:\r\n chunked"),
            ("a field that seems to be folded", "Host: a\r\nX: b\r\n Content-Length: 40"),
            ("the first line", " X: b\r\nHost: a"),
            ("a line of white space", "Host: a\r\n \r\nX: b"),
        ],
    );
    table.lines(
        "field names",
        &[
            ("a space before the colon", "Host: a\r\nContent-Length : 40"),
            ("a tab before the colon", "Host: a\r\nTransfer-Encoding\t: chunked"),
            ("a space in Host's", "Host : a"),
            ("a space inside", "Host: a\r\nX Y: b"),
            ("none", "Host: a\r\n: b"),
            ("no colon", "Host: a\r\nX"),
            ("a slash", "Host: a\r\nX/Y: b"),
            ("brackets", "Host: a\r\nX[0]: b"),
            ("quotes", "Host: a\r\n\"X\": b"),
            ("not ASCII", "Host: a\r\n\u{e4}: b"),
            ("an at sign", "Host: a\r\n@X: b"),
        ],
    );
    table.lines(
        "control characters",
        &[
            ("NUL in a value", "Host: a\r\nX: b\0c"),
            ("NUL in a name", "Host: a\r\nX\0: b"),
            ("NUL in Host", "Host: a\0b"),
            ("a vertical tab in a value", "Host: a\r\nX: b\x0bc"),
            ("ESC in a value", "Host: a\r\nX: \x1b[31m"),
            ("backspace in a value", "Host: a\r\nX: b\x08"),
            ("DEL in a value", "Host: a\r\nX: b\x7fc"),
        ],
    );
    table.starts(
        "control characters",
        400,
        &[
            ("NUL in the target", "GET /\0 HTTP/1.1"),
            ("a tab in the target", "GET /\ta HTTP/1.1"),
            ("DEL in the target", "GET /\x7f HTTP/1.1"),
            ("ESC in the method", "G\x1bET / HTTP/1.1"),
            ("a form feed behind the method", "GET\x0c/ HTTP/1.1"),
        ],
    );
    table.starts(
        "request lines",
        400,
        &[
            ("two spaces before the target", "GET  / HTTP/1.1"),
            ("two spaces behind the target", "GET /  HTTP/1.1"),
            ("a space behind the version", "GET / HTTP/1.1 "),
            ("a space before the method", " GET / HTTP/1.1"),
            ("a tab for a space", "GET\t/ HTTP/1.1"),
            ("no target", "GET HTTP/1.1"),
            ("no method", "/ HTTP/1.1"),
            ("four words", "GET / x HTTP/1.1"),
            ("a colon in the method", "GET: / HTTP/1.1"),
            ("brackets in the method", "GET[] / HTTP/1.1"),
            ("not ASCII in the method", "G\u{c9}T / HTTP/1.1"),
            ("HTTP/0.9", "GET /"),
        ],
    );
    table.starts(
        "versions",
        400,
        &[
            ("lower case", "GET / http/1.1"),
            ("too many digits", "GET / HTTP/1.10"),
            ("a leading zero", "GET / HTTP/01.1"),
            ("a plus", "GET / HTTP/+1.1"),
            ("a comma", "GET / HTTP/1,1"),
            ("no minor", "GET / HTTP/1"),
            ("no slash", "GET / HTTP1.1"),
            ("another protocol", "GET / HTCPCP/1.0"),
        ],
    );
    table.starts(
        "versions",
        505,
        &[
            ("HTTP/1.2", "GET / HTTP/1.2"),
            ("HTTP/2.0", "GET / HTTP/2.0"),
            ("HTTP/0.9, written out", "GET / HTTP/0.9"),
        ],
    );
    table.refused("versions", 505, "HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    table.lines(
        "Host",
        &[
            ("none", "X: b"),
            ("two", "Host: a\r\nHost: b"),
            ("two equal ones", "Host: a\r\nhost: a"),
            ("a list", "Host: a, b"),
            ("a path", "Host: a/b"),
            ("a user", "Host: u@a"),
            ("percent-encoding", "Host: %61"),
            ("two dots in a row", "Host: a.."),
            ("a dot alone", "Host: ."),
            ("a URL", "Host: http://a"),
            ("a space", "Host: a b"),
            ("a query", "Host: a?b"),
            ("a fragment", "Host: a#b"),
            ("a backslash", "Host: a\\b"),
            ("not ASCII", "Host: \u{e4}"),
            ("a word for a port", "Host: a:http"),
            ("a port with a sign", "Host: a:+80"),
            ("a port that is too large", "Host: a:65536"),
            ("two ports", "Host: a:80:80"),
            ("IPv6 without brackets", "Host: ::1"),
            ("brackets without an address", "Host: [a]"),
            ("brackets that do not close", "Host: [::1"),
            ("something behind brackets", "Host: [::1]a"),
        ],
    );
    table.refused(
        "Host",
        400,
        "none that is one, in HTTP/1.0",
        "GET / HTTP/1.0\r\nHost: a/b\r\n\r\n",
    );
    table.refused("Host", 400, "two in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    let flood = format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(1000));
    table.refused("sizes", 431, "a flood of empty lines", flood);
    let long = |start: &str, end: &str| format!("{start}{}{end}", "x".repeat(1100));
    let end = " HTTP/1.1\r\nHost: a\r\n\r\n";
    table.refused("sizes", 431, "a long target", long("GET /", end));
    table.refused("sizes", 431, "a long method", long("", &format!(" /{end}")));
    table.refused(
        "sizes",
        431,
        "a long value",
        long("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n"),
    );
    let many = "X: 1\r\n".repeat(128);
    table.refused("sizes", 431, "129 fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"));
    table.refused("no HTTP", 400, "a TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\x7f\x03\x03");
    table.refused("no HTTP", 400, "SSH", "SSH-2.0-OpenSSH_9.6\r\n");
    table.refused("no HTTP", 400, "a PROXY line", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    table.refused("no HTTP", 400, "zeros", [0; 16]);
}

fn targets(table: &mut Table) {
    table.starts(
        "targets",
        400,
        &[
            ("no slash", "GET a HTTP/1.1"),
            ("a query alone", "GET ?a HTTP/1.1"),
            ("a fragment", "GET /a#b HTTP/1.1"),
            ("a fragment in the query", "GET /?a#b HTTP/1.1"),
            ("another scheme", "GET ftp://a/ HTTP/1.1"),
            ("a file", "GET file:///etc/passwd HTTP/1.1"),
            ("no authority", "GET http:///x HTTP/1.1"),
            ("one slash", "GET http:/a/ HTTP/1.1"),
            ("an asterisk", "GET * HTTP/1.1"),
            ("an authority alone", "GET a:80 HTTP/1.1"),
            ("an asterisk and more", "OPTIONS *a HTTP/1.1"),
        ],
    );
    table.starts(
        "authorities",
        400,
        &[
            ("another host", "GET http://b/ HTTP/1.1"),
            ("another port", "GET http://a:81/ HTTP/1.1"),
            ("the other scheme's port", "GET http://a:443/ HTTP/1.1"),
            ("a user", "GET http://u@a/ HTTP/1.1"),
            ("a user that looks like the host", "GET http://a:80@b/ HTTP/1.1"),
            ("a backslash", "GET http://a\\@b/ HTTP/1.1"),
            ("a list", "GET http://a,b/ HTTP/1.1"),
        ],
    );
    table.starts(
        "paths",
        400,
        &[
            ("two dots", "GET /v1/../admin HTTP/1.1"),
            ("two dots at the start", "GET /../etc/passwd HTTP/1.1"),
            ("two dots at the end", "GET /v1/.. HTTP/1.1"),
            ("two dots before the query", "GET /v1/..?a HTTP/1.1"),
            ("one dot", "GET /v1/./admin HTTP/1.1"),
            ("encoded dots", "GET /v1/%2e%2e/admin HTTP/1.1"),
            ("one encoded dot", "GET /v1/.%2E/admin HTTP/1.1"),
            ("an encoded slash behind them", "GET /v1/..%2fadmin HTTP/1.1"),
            ("an encoded backslash behind them", "GET /v1/..%5cadmin HTTP/1.1"),
            ("all encoded", "GET /v1%2f%2e%2e%2fadmin HTTP/1.1"),
            ("parameters behind them", "GET /v1/..;/admin HTTP/1.1"),
            ("encoded parameters behind them", "GET /v1/..%3b/admin HTTP/1.1"),
            ("parameters in both cases", "GET /v1/..%3Ba%3bb/admin HTTP/1.1"),
            ("dots of two bytes", "GET /v1/%c0%ae%c0%ae/admin HTTP/1.1"),
            ("a slash of two bytes", "GET /v1/..%C0%AFadmin HTTP/1.1"),
            ("a slash of three bytes", "GET /v1/..%e0%80%afadmin HTTP/1.1"),
            ("an absolute target", "GET http://a/v1/../admin HTTP/1.1"),
            ("a backslash", "GET /v1\\..\\admin HTTP/1.1"),
            ("a backslash alone", "GET /a\\b HTTP/1.1"),
            ("an encoded NUL", "GET /v1/a%00.json HTTP/1.1"),
            ("an encoded line end", "GET /v1/a%0d%0aX:%20b HTTP/1.1"),
            ("an encoded LF", "GET /v1/a%0Ab HTTP/1.1"),
            ("half an encoding", "GET /v1/%2 HTTP/1.1"),
            ("no encoding", "GET /v1/%zz HTTP/1.1"),
            ("another encoding", "GET /v1/%u002e HTTP/1.1"),
        ],
    );
    table.refused("CONNECT", 405, "an authority", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    table.refused("CONNECT", 405, "a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n");
}

fn bodies(table: &mut Table) {
    table.chunks(
        "chunk sizes",
        &[
            ("an empty line", "\r\n"),
            ("an empty line before the last chunk", "1\r\na\r\n\r\n0\r\n\r\n"),
            ("no digit", "x\r\n"),
            ("a plus", "+1\r\na\r\n0\r\n\r\n"),
            ("a minus", "-1\r\n"),
            ("0x", "0x1\r\na\r\n0\r\n\r\n"),
            ("an underscore", "1_0\r\n"),
            ("a space before it", " 1\r\na\r\n0\r\n\r\n"),
            ("a space inside", "1 0\r\n"),
            ("a vertical tab behind it", "1\x0b\r\n"),
            ("16 digits", "0000000000000001\r\na\r\n0\r\n\r\n"),
            ("2^64 + 1", "10000000000000001\r\na\r\n"),
            ("2^63", "8000000000000000\r\n"),
            ("a bare LF", "1\na\r\n0\r\n\r\n"),
            ("a bare CR", "1\ra\r\n0\r\n\r\n"),
            ("CR and not LF", "1\rX\na\r\n0\r\n\r\n"),
            ("CR CR LF", "1\r\r\na\r\n0\r\n\r\n"),
            ("NUL", "1\0\r\na\r\n0\r\n\r\n"),
            ("the last one with a bare LF", "0\n\r\n"),
            ("quotes", "\"1\"\r\n"),
        ],
    );
    table.chunks(
        "chunk extensions",
        &[
            ("a bare LF", "1;a\na\r\n0\r\n\r\n"),
            ("a bare LF that ends the chunk for some", "2;\nxx\r\n26\r\n0\r\n\r\n"),
            ("a bare CR", "1;a\rb\r\na\r\n0\r\n\r\n"),
            ("a bare CR at the end", "1;a\r\r\na\r\n0\r\n\r\n"),
            ("NUL", "1;a\0\r\na\r\n0\r\n\r\n"),
            ("DEL", "1;a\x7f\r\na\r\n0\r\n\r\n"),
            ("a bare LF in quotes", "1;a=\"\n\"\r\na\r\n0\r\n\r\n"),
            ("a bare LF behind white space", "1 \na\r\n0\r\n\r\n"),
            ("the last chunk's with a bare LF", "0;a\n\r\n"),
            ("no semicolon", "1 a=b\r\na\r\n0\r\n\r\n"),
        ],
    );
    let endless = format!("{CHUNKED}1;{}", "x".repeat(17 * 1024));
    table.refused("chunk extensions", 400, "one without an end", endless);
    let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(20);
    table.refused("chunk extensions", 400, "many long ones", format!("{CHUNKED}{many}"));
    table.chunks(
        "chunk ends",
        &[
            ("data that is too long", "1\r\nab\r\n0\r\n\r\n"),
            ("data that is too short", "3\r\nab\r\n0\r\n\r\n"),
            ("a bare LF", "1\r\na\n0\r\n\r\n"),
            ("a bare CR", "1\r\na\r0\r\n\r\n"),
            ("nothing", "1\r\na0\r\n\r\n"),
            ("CR CR LF", "1\r\na\r\r\n0\r\n\r\n"),
            ("two bytes that are no line end", "1\r\naXX0\r\n\r\n"),
        ],
    );
    table.chunks(
        "trailers",
        &[
            ("a bare LF", "0\r\nX: 1\n\r\n"),
            ("a bare LF as the last line", "0\r\n\n"),
            ("a bare CR", "0\r\nX: 1\rY: 2\r\n\r\n"),
            ("a bare CR as the last line", "0\r\n\rX"),
            ("a folded line", "0\r\nX: 1\r\n 2\r\n\r\n"),
            ("NUL", "0\r\nX: \0\r\n\r\n"),
            ("no name", "0\r\n: 1\r\n\r\n"),
            ("no colon", "0\r\nX\r\n\r\n"),
            ("a request line", "0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("white space before the colon", "0\r\nX : 1\r\n\r\n"),
            ("a character that is no token", "0\r\nX\u{e4}: 1\r\n\r\n"),
        ],
    );
    let many = "X: 1234567890\r\n".repeat(1500);
    table.refused("trailers", 400, "too many", format!("{CHUNKED}0\r\n{many}"));
}

fn passes(table: &mut Table) {
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let post = |lines: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}");
    let chunked = |body: &str| format!("{CHUNKED}{body}");
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let root = ("/", "");
    table.passes("empty lines before it", format!("\r\n\r\n{}", get("")), root, &[]);
    table.passes("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", root, &[]);
    table.passes("no space behind the colon", get("X:b\r\n"), root, &[]);
    table.passes("white space around a value", get("X: \t b \t \r\n"), root, &["\t"]);
    table.passes("an empty value", get("X:\r\n"), root, &[]);
    table.passes("bytes above ASCII in a value", get("X: \u{e4}\r\n"), root, &[]);
    table.passes("a name with an underscore", get("X_Y: b\r\n"), root, &[]);
    table.passes("a method that we do not know", "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", root, &[]);
    for (lines, gone) in [
        ("Content_Length: 40\r\n", "40"),
        ("Transfer_Encoding: chunked\r\n", "hunked"),
        ("X_Forwarded_For: 6.6.6.6\r\n", "6.6.6.6"),
        ("X-Forwarded_For: 6.6.6.6\r\n", "6.6.6.6"),
        ("X_Request_Id: six\r\n", "six"),
        ("X-Forwarded-For: 6.6.6.6\r\n", "6.6.6.6"),
        ("Forwarded: for=6.6.6.6\r\n", "6.6.6.6"),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "h2c",
        ),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "AAMA",
        ),
        ("Upgrade: six\r\n", "six"),
        ("Connection: x-six\r\nX-Six: 6\r\n", "six: 6"),
        ("Proxy-Connection: six\r\n", "six"),
        ("TE: six\r\n", "six"),
        ("Keep-Alive: six\r\n", "six"),
        ("Trailer: six\r\n", "six"),
    ] {
        let gone: &'static [&'static str] = Box::leak(Box::new([gone]));
        table.passes(&format!("without its field: {lines}"), get(lines), root, gone);
    }
    let five = ("/", "hello");
    table.passes("a length", post("Content-Length: 5\r\n", "hello"), five, &[]);
    table.passes("a length with zeros", post("Content-Length: 0005\r\n", "hello"), five, &["0005"]);
    let listed = "Content-Length: 5\r\nConnection: content-length, host\r\n";
    table.passes("a length that Connection lists", post(listed, "hello"), five, &["onnection"]);
    let listed = "Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n";
    let body = "5\r\nhello\r\n0\r\n\r\n";
    table.passes("a coding that Connection lists", post(listed, body), five, &["onnection"]);
    table.passes("a coding in capitals", post("Transfer-Encoding: CHUNKED\r\n", body), five, &[]);
    table.passes(
        "a GET with a body",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        five,
        &[],
    );
    table.passes("chunks", chunked("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), five, &[]);
    table.passes(
        "a size in capitals, with zeros",
        chunked("000A\r\n0123456789\r\n0\r\n\r\n"),
        ("/", "0123456789"),
        &[],
    );
    table.passes("white space behind a size", chunked("5 \t \r\nhello\r\n0\r\n\r\n"), five, &[]);
    table.passes(
        "extensions",
        chunked("5;a;b=c; d=\"e;f\"\r\nhello\r\n0;g\r\n\r\n"),
        five,
        &["e;f"],
    );
    table.passes(
        "white space before an extension",
        chunked("5 ;a\r\nhello\r\n0\r\n\r\n"),
        five,
        &[],
    );
    table.passes(
        "many zeros for the last chunk",
        chunked("5\r\nhello\r\n00000\r\n\r\n"),
        five,
        &[],
    );
    let trailers = "5\r\nhello\r\n0\r\nHost: six\r\nContent-Length: 666\r\nX-Six: 6\r\n\r\n";
    table.passes("trailers, dropped", chunked(trailers), five, &["six", "666", "Six"]);
    let hidden = format!("Content-Length: {}\r\n", SMUGGLED.len());
    table.passes("a request in a body", post(&hidden, SMUGGLED), ("/", SMUGGLED), &[]);
    let hidden = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    table.passes("a request in a chunk", chunked(&hidden), ("/", SMUGGLED), &[]);
    table.passes("an absolute target", target("http://A:80/x?y"), ("/x?y", ""), &["http:"]);
    table.passes("an absolute target without a path", target("http://a?y"), ("/?y", ""), &[]);
    table.passes("an asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ("*", ""), &[]);
    for path in [
        "//",
        "//a///b",
        "/a%2Fb",
        "/a%5Cb",
        "/%61%2dmin",
        "/%252e%252e/",
        "/.../..a/a../.well-known",
        "/a;b=../c",
        "/?a=../../b&c=%00%0d%0a%zz",
        "/a?b\\c",
        "/{a}|b^c`",
    ] {
        table.passes(&format!("the path {path}"), target(path), (path, ""), &[]);
    }
}
