//! Against a server that is told when to cut.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;

/// What the server does with its next connections; with the last one for ever.
#[derive(Debug, Clone)]
struct Answer {
    body: Vec<u8>,
    etag: Option<&'static str>,
    /// Bytes after which it closes the connection.
    cut: Option<usize>,
    status: Option<&'static str>,
    chunked: bool,
}

fn answer(body: &[u8]) -> Answer {
    Answer {
        body: body.to_vec(),
        etag: Some("\"one\""),
        cut: None,
        status: None,
        chunked: false,
    }
}

#[derive(Debug)]
struct Server {
    url: Url,
    /// The Range of each request.
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

async fn server(answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answers[number.min(answers.len() - 1)].clone();
            let mut stream = BufReader::new(stream);
            let (mut range, mut if_range) = (None, None);
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let line = line.trim();
                if line.is_empty() {
                    break;
                }
                if let Some((name, value)) = line.split_once(": ") {
                    match name.to_lowercase().as_str() {
                        "range" => range = Some(value.to_owned()),
                        "if-range" => if_range = Some(value.to_owned()),
                        _ => {}
                    }
                }
            }
            seen.lock().unwrap().push(range.clone());
            let fits = if_range.is_none() || if_range.as_deref() == answer.etag;
            let start: usize = range
                .filter(|_| fits)
                .and_then(|range| {
                    range
                        .strip_prefix("bytes=")?
                        .strip_suffix('-')?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            let body = &answer.body[start.min(answer.body.len())..];
            let size = answer.body.len();
            let mut head = match answer.status {
                Some(status) => format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n"),
                None if answer.chunked => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n".to_owned()
                }
                None if start > 0 => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}\r\nContent-Length: {}\r\n",
                    size - 1,
                    body.len()
                ),
                None => format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n"),
            };
            if let Some(etag) = answer.etag {
                head += &format!("ETag: {etag}\r\n");
            }
            head += "Connection: close\r\n\r\n";
            let mut stream = stream.into_inner();
            stream.write_all(head.as_bytes()).await.unwrap();
            if answer.status.is_none() && answer.chunked {
                let chunk = format!("{:x}\r\n", body.len());
                stream.write_all(chunk.as_bytes()).await.unwrap();
                stream.write_all(body).await.unwrap();
                stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
            } else if answer.status.is_none() {
                let end = answer.cut.unwrap_or(body.len()).min(body.len());
                stream.write_all(&body[..end]).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        }
    });
    Server {
        url: Url::parse(&format!("http://{address}/x.raucb?sig=secret")).unwrap(),
        asked,
    }
}

fn limits() -> Limits {
    Limits {
        spare: 0,
        attempts: 3,
        wait: (Duration::from_millis(1), Duration::from_millis(5)),
        ..Limits::default()
    }
}

async fn fetch(url: &Url, folder: &Path, is_checked: bool) -> Result<Vec<u8>, UpdateError> {
    let client = Client::builder().no_proxy().build_for_tests();
    let download = Download {
        client: &client,
        url,
        folder,
        limits: &limits(),
        is_checked,
    };
    let mut last = 0;
    let path = download.run(&mut |bytes, _| last = bytes).await?;
    let found = fs::read(path).unwrap();
    assert_eq!(last, found.len() as u64, "progress ends at the whole");
    Ok(found)
}

trait BuildForTests {
    fn build_for_tests(self) -> Client;
}

impl BuildForTests for reqwest::ClientBuilder {
    /// Plain HTTP: the machine's certificates are none of the tests'.
    fn build_for_tests(self) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        self.tls_backend_preconfigured(tls).build().unwrap()
    }
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn asked(server: &Server) -> Vec<Option<String>> {
    server.asked.lock().unwrap().clone()
}

fn range(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("download");
    let body = body(1000);
    let cut = Answer {
        cut: Some(400),
        ..answer(&body)
    };
    let server = server(vec![cut.clone(), cut, answer(&body)]).await;
    assert_eq!(fetch(&server.url, &folder, false).await.unwrap(), body);
    assert_eq!(
        asked(&server),
        [None, range("bytes=400-"), range("bytes=800-")]
    );
    let record = fs::read_to_string(record(&folder)).unwrap();
    assert!(!record.contains("secret"), "{record}");

    // Whole, and asked for again, after a restart say: one byte tells that it is the same.
    assert_eq!(fetch(&server.url, &folder, false).await.unwrap(), body);
    assert_eq!(asked(&server).last().unwrap(), &range("bytes=999-"));
    clear(&folder).unwrap();
    clear(&folder).unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_file_that_was_replaced_meanwhile_is_fetched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (body(1000), vec![7; 900]);
    let cut = Answer {
        cut: Some(400),
        ..answer(&old)
    };
    let changed = Answer {
        etag: Some("\"two\""),
        ..answer(&new)
    };
    let server = server(vec![cut, changed]).await;
    assert_eq!(fetch(&server.url, folder.path(), false).await.unwrap(), new);
    assert_eq!(asked(&server), [None, range("bytes=400-")]);
}

#[tokio::test]
async fn without_a_mark_of_the_file_only_what_is_checked_afterwards_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let body = body(1000);
    let plain = Answer {
        etag: None,
        ..answer(&body)
    };
    let cut = Answer {
        cut: Some(400),
        ..plain.clone()
    };
    let other = Answer {
        etag: None,
        ..answer(&vec![7; 900])
    };
    let first = server(vec![cut.clone(), plain.clone()]).await;
    assert_eq!(fetch(&first.url, folder.path(), false).await.unwrap(), body);
    assert_eq!(asked(&first), [None, None]);

    clear(folder.path()).unwrap();
    let second = server(vec![cut.clone(), plain]).await;
    assert_eq!(fetch(&second.url, folder.path(), true).await.unwrap(), body);
    assert_eq!(asked(&second), [None, range("bytes=400-")]);

    clear(folder.path()).unwrap();
    let third = server(vec![cut, other]).await;
    assert_eq!(
        fetch(&third.url, folder.path(), true).await.unwrap(),
        vec![7; 900]
    );
    assert_eq!(
        asked(&third),
        [None, range("bytes=400-"), None],
        "another size"
    );
}

#[tokio::test]
async fn what_was_begun_from_another_address_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let body = body(500);
    let silent = Answer {
        cut: Some(100),
        ..answer(&[1; 500])
    };
    let nothing = Answer {
        cut: Some(0),
        ..silent.clone()
    };
    let first = server(vec![silent, nothing]).await;
    let error = fetch(&first.url, folder.path(), false).await.unwrap_err();
    assert_eq!(error.exit_status(), 20);
    let text = error.to_string();
    assert!(
        text.contains("gave up after 3 attempts") && !text.contains("secret"),
        "{text}"
    );
    assert_eq!(
        length(&bundle(folder.path())),
        100,
        "kept for the next call"
    );
    let second = server(vec![answer(&body)]).await;
    assert_eq!(
        fetch(&second.url, folder.path(), false).await.unwrap(),
        body
    );
    assert_eq!(asked(&second), [None]);
}

#[tokio::test]
async fn servers_that_refuse_and_servers_that_are_busy() {
    let folder = tempfile::tempdir().unwrap();
    let with = |status| Answer {
        status: Some(status),
        ..answer(&[])
    };
    let gone = server(vec![with("404 Not Found")]).await;
    let error = fetch(&gone.url, folder.path(), false).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(asked(&gone).len(), 1, "asking again would not help");

    let body = body(10);
    let busy = server(vec![with("503 Service Unavailable"), answer(&body)]).await;
    assert_eq!(fetch(&busy.url, folder.path(), false).await.unwrap(), body);

    let chunked = Answer {
        chunked: true,
        ..answer(&body)
    };
    let chunked = server(vec![chunked]).await;
    assert_eq!(
        fetch(&chunked.url, folder.path(), false).await.unwrap(),
        body
    );
}

#[tokio::test]
async fn a_bundle_that_does_not_fit_is_refused_before_it_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(vec![answer(&body(1000))]).await;
    let client = Client::builder().no_proxy().build_for_tests();
    let run = async |limits: Limits| {
        let download = Download {
            client: &client,
            url: &server.url,
            folder: folder.path(),
            limits: &limits,
            is_checked: false,
        };
        download
            .run(&mut |_, _| {})
            .await
            .unwrap_err()
            .exit_status()
    };
    assert_eq!(
        run(Limits {
            spare: u64::MAX / 2,
            ..limits()
        })
        .await,
        19
    );
    assert_eq!(
        run(Limits {
            largest: 999,
            ..limits()
        })
        .await,
        20
    );
    assert_eq!(length(&bundle(folder.path())), 0);
}

/// Others write to the disk, too, so that what had room at first has none any more.
#[tokio::test]
async fn a_download_that_finds_no_room_any_more_leaves_none_of_it() {
    // Memory: nobody else writes there meanwhile.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let found = statvfs(folder.path()).unwrap();
    let free = found.blocks_available() * found.fragment_size();
    // How much comes, it does not say.
    let server = server(vec![Answer {
        chunked: true,
        ..answer(&body(24 << 20))
    }])
    .await;
    let client = Client::builder().no_proxy().build_for_tests();
    let download = Download {
        client: &client,
        url: &server.url,
        folder: folder.path(),
        limits: &Limits {
            spare: free - ASK_SPACE - (8 << 20),
            ..limits()
        },
        is_checked: false,
    };
    let mut most = 0;
    let error = download
        .run(&mut |bytes, _| most = bytes)
        .await
        .unwrap_err();
    assert_eq!(error.exit_status(), 19, "{error}");
    assert!(most >= ASK_SPACE - (1 << 20), "{most}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
