//! What monitoring reads.

use crate::harness::{Answer, TestApp, answer};

async fn metrics(app: &TestApp, from: &str) -> Answer {
    let request = app.stranger().request("GET", "/metrics");
    answer(request.header("x-forwarded-for", from)).await
}

#[tokio::test]
async fn figures_are_for_the_networks_that_the_operator_names() {
    let app = TestApp::with("metrics.networks = ['192.0.2.0/24', '2001:db8::/32']").await;
    for from in ["192.0.2.1", "::ffff:192.0.2.200", "2001:db8:1::1", "203.0.113.1, 192.0.2.1"] {
        let told = metrics(&app, from).await;
        assert_eq!(told.status, 200, "{from}");
        assert_eq!(
            told.header("content-type"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert!(told.body.ends_with("# EOF\n"), "{}", told.body);
    }
    for from in ["192.0.3.1", "::1", "2001:db9::1", "192.0.2.1, 203.0.113.1", "nobody"] {
        metrics(&app, from).await.refused(404, "M_UNRECOGNIZED");
    }
    // Nobody tells who asks but the proxy itself.
    app.stranger().get("/metrics").await.refused(404, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn by_default_figures_are_for_this_machine() {
    let app = TestApp::start().await;
    assert_eq!(app.stranger().get("/metrics").await.status, 200);
    metrics(&app, "192.0.2.1").await.refused(404, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn mails_are_counted_by_what_became_of_them() {
    let app = TestApp::start().await;
    let alice = app.account("@alice:hs.example").await;
    alice.request_token("alice@example.org", "c", 1).await.ok();
    // The same attempt is no other mail.
    alice.request_token("alice@example.org", "c", 1).await.ok();
    let told = app.stranger().get("/metrics").await.body;
    for line in [
        "bindery_messages_total{medium=\"email\",outcome=\"sent\"} 1",
        "bindery_messages_total{medium=\"email\",outcome=\"failed\"} 0",
        "bindery_sms_today 0",
    ] {
        assert!(told.lines().any(|found| found == line), "{line}: {told}");
    }
}
