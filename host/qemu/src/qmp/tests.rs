use super::*;

const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#;

/// A peer that answers every command with `reply` and sends `noise` before each answer.
async fn peer(stream: UnixStream, noise: &'static str) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(format!("{GREETING}\r\n").as_bytes()).await.unwrap();
    while let Ok(Some(line)) = lines.next_line().await {
        let command: Value = serde_json::from_str(&line).unwrap();
        let result = match command["execute"].as_str() {
            Some("query-status") => r#"{"status": "running", "singlestep": false, "running": true}"#,
            _ => "{}",
        };
        let id = &command["id"];
        let reply = format!("{noise}{{\"return\": {result}, \"id\": {id}}}\r\n");
        write.write_all(reply.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn an_event_unknown_to_qapi_is_received() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let noise = concat!(
        r#"{"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}"#,
        "\r\n",
        r#"{"event": "FROM_THE_FUTURE", "timestamp": {"seconds": 1, "microseconds": 2}}"#,
        "\r\n",
        r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}, "timestamp": {"seconds": 1, "microseconds": 2}}"#,
        "\r\n"
    );
    tokio::spawn(peer(theirs, noise));
    let (connecting, mut events) = pump(ours, None);
    let qmp = connecting.negotiate(false).await.unwrap();
    assert_eq!(qmp.status().await.unwrap(), "running");
    let mut received = Vec::new();
    while let Ok(next) = events.try_recv() {
        received.push(next);
    }
    assert!(received.is_sorted_by_key(|timed| timed.at));
    let once = [
        QmpEvent::Resumed,
        QmpEvent::Other("FROM_THE_FUTURE".to_owned()),
        QmpEvent::Shutdown(ShutdownReason::GuestReset),
    ];
    let all: Vec<_> = received.into_iter().map(|timed| timed.event).collect();
    assert_eq!(all, [&[QmpEvent::Greeting][..], &once, &once].concat());
}

#[tokio::test]
async fn without_ids_a_command_after_one_without_a_reply_is_an_error() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connecting, _events) = pump(ours, None);
    let silent = async {
        let (read, mut write) = theirs.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(GREETING.replace(r#""oob""#, "").as_bytes()).await.unwrap();
        write.write_all(b"\r\n").await.unwrap();
        // The handshake is answered, and a command; all others are not.
        for result in ["{}", r#"{"status": "running", "singlestep": false, "running": true}"#] {
            lines.next_line().await.unwrap();
            write.write_all(format!("{{\"return\": {result}}}\r\n").as_bytes()).await.unwrap();
        }
        (lines, write)
    };
    let (qmp, _peer) = tokio::join!(
        async {
            let qmp = connecting.negotiate(false).await.unwrap();
            assert_eq!(qmp.status().await.unwrap(), "running");
            qmp
        },
        silent
    );
    let first = qmp.execute_within(qmp::cont {}, Duration::from_millis(10)).await;
    assert!(matches!(first, Err(QmpError::Silent { .. })), "{first:?}");
    for _ in 0..2 {
        let next = qmp.resume().await.unwrap_err().to_string();
        assert_eq!(next, "QMP command cont: QEMU has not answered an earlier command");
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_the_greeting_is_an_error() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let (connecting, mut events) = pump(ours, None);
    assert!(matches!(connecting.negotiate(false).await, Err(QmpError::Negotiation(_))));
    assert_eq!(events.recv().await, None);
}
