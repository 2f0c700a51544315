//! Which tasks are exported: those that a list with the same filters has.

use serde_json::{Value, json};

use super::{dance, each, label, lines, planned, printed, rows, run, task};
use crate::common::Service;
use crate::common::brain::finish;

#[tokio::test]
async fn lists_and_exports_mean_the_same_by_their_filters() {
    let brain = planned().await;
    let service = Service::start(&brain.url, &[]).await;
    std::fs::create_dir(service.home.code().join("repo")).unwrap();
    let mut created = Vec::new();
    for (id, plan, more) in [
        ("a", [finish()], json!({"labels": {"team": "red", "batch": "1"}})),
        ("b", [dance()], json!({"labels": {"team": "blue & green"}, "workspace": "repo"})),
        ("c", [finish()], json!({"labels": {"team": "red"}, "workspace": "repo"})),
        ("d", [dance()], json!({"labels": {"größe": "a=b"}, "workspace": "./repo"})),
        ("e", [finish()], json!({})),
    ] {
        let mut task = task(id, "x", &plan);
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        created.push(service.finish(&task).await["created_at"].as_str().unwrap().to_owned());
    }
    let queries = [
        "label=team".to_owned(),
        "label=team=red".to_owned(),
        "label=team%3Dblue%20%26+green".to_owned(),
        "label=team&label=batch".to_owned(),
        "label=gr%C3%B6%C3%9Fe=a=b".to_owned(),
        "label=red".to_owned(),
        "workspace=repo".to_owned(),
        "workspace=./repo".to_owned(),
        "status=failed".to_owned(),
        "status=succeeded,failed&label=team&workspace=repo".to_owned(),
        "since=2000-01-01".to_owned(),
        "until=2000-01-01".to_owned(),
        "since=2999-01-01T00:00:00%2B14:00".to_owned(),
        format!("since={}&until={}", created[1], created[4]),
        format!("since={}", created[2]),
        format!("until={}", created[2]),
    ];
    let mut found = 0;
    for query in &queries {
        let listed = service.get(&format!("/tasks?{query}")).await.json();
        let mut listed = each(listed["tasks"].as_array().unwrap(), "task_id").join(" ");
        // The list has the newest first.
        listed = listed.split(' ').rev().collect::<Vec<_>>().join(" ");
        let exported = rows(&service.get(&format!("/export?format=atif&{query}")).await);
        assert_eq!(each(&exported, "session_id").join(" "), listed, "{query}");
        found += exported.len();
    }
    assert!(found > queries.len(), "{found}");
}

#[tokio::test]
async fn a_verdict_decides_what_is_learnt_and_its_last_word_counts() {
    let brain = planned().await;
    let service = Service::start(&brain.url, &[]).await;
    for id in ["fine", "poor", "unseen"] {
        service.finish(&task(id, id, &[finish()])).await;
    }
    let exported = async |query: &str| {
        let exported = rows(&service.get(&format!("/export?{query}")).await);
        let said = |row: &Value| row["messages"][0]["content"].as_str().unwrap().to_owned();
        exported.iter().map(said).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(exported("").await, "fine poor unseen");
    label(&service, "fine", &json!({"outcome": "accepted", "reward": 1})).await;
    label(&service, "poor", &json!({"outcome": "rejected", "note": "half of it"})).await;
    label(&service, "unseen", &json!({"reward": 0.5})).await;
    // What somebody has rejected is not learnt from, unless it is asked for.
    assert_eq!(exported("").await, "fine unseen");
    assert_eq!(exported("outcome=accepted").await, "fine");
    assert_eq!(exported("outcome=rejected").await, "poor");
    for outcome in ["accepted", "rejected"] {
        let query = format!("outcome={outcome}&format=hf");
        let flags = ["-q", "--outcome", outcome, "--format", "hf"];
        assert_eq!(service.get(&format!("/export?{query}")).await.text(), printed(&service.home, &flags, &[]).await);
    }
    label(&service, "poor", &json!({"outcome": "accepted"})).await;
    label(&service, "fine", &json!({"outcome": null, "reward": 0})).await;
    assert_eq!(exported("outcome=accepted").await, "poor");
    assert_eq!(exported("").await, "fine poor unseen");
}

#[tokio::test]
async fn a_dry_run_tells_what_an_increment_would_add_and_writes_nothing() {
    let brain = planned().await;
    let service = Service::start(&brain.url, &[]).await;
    let dir = service.home.path().join("data set");
    let to = dir.to_str().unwrap();
    let told = async |flags: &[&str]| {
        let output = run(&service.home, flags, &[]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{flags:?}: {said}");
        said
    };
    service.finish(&task("first", "One.", &[finish()])).await;
    let planned = told(&["--to", to, "--incremental", "--dry-run"]).await;
    assert!(!dir.exists());
    assert_eq!(told(&["--to", to, "--incremental"]).await, planned);
    let before = std::fs::read(dir.join("manifest.json")).unwrap();

    let unchanged = told(&["--to", to, "--incremental", "--dry-run"]).await;
    assert!(unchanged.starts_with("1 task in 1 row, ") && unchanged.contains("new         0 tasks"), "{unchanged}");
    service.finish(&task("second", "Two.", &[finish()])).await;
    service.finish(&task("third", "Three.", &[dance()])).await;
    let planned = told(&["--to", to, "--incremental", "--dry-run"]).await;
    assert!(planned.starts_with("2 tasks in 2 rows, ") && planned.contains("new         1 task in 1 row"), "{planned}");
    assert!(planned.contains("1 task left out\n  status          1"), "{planned}");
    // Without a word about the one that is there, it is as if there were none.
    assert!(!told(&["--dry-run"]).await.contains("new "));
    assert_eq!(std::fs::read(dir.join("manifest.json")).unwrap(), before);

    // It refuses what the export itself would refuse.
    for (flags, said) in
        [(&["--incremental", "--format", "hf"][..], "was made with another format"), (&[], "has an export already")]
    {
        for dry in [&["--dry-run"][..], &[]] {
            let flags = [&["--to", to], flags, dry].concat();
            let refused = run(&service.home, &flags, &[]).await;
            let told = String::from_utf8(refused.stderr).unwrap();
            assert!(refused.status.code() == Some(1) && told.contains(said), "{flags:?}: {told}");
        }
    }
    assert_eq!(told(&["--to", to, "--incremental"]).await, planned);
    assert_eq!(each(&lines(&dir, "index.jsonl"), "task_id"), ["first", "second"]);
    assert_eq!(each(&lines(&dir, "rejected.jsonl"), "task_id"), ["third"]);
}
