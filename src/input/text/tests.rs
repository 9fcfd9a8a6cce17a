use super::*;

fn nested(levels: usize) -> String {
    let lists = levels - 1;
    format!("{{\"a\":{}1{}}}", "[".repeat(lists), "]".repeat(lists))
}

#[test]
fn nesting_is_refused_above_the_bound_and_not_below() {
    for levels in [1, 2, 127, 128, 129, 144] {
        let text = nested(levels);
        assert_eq!(Raw::read(&text).unwrap().text(), text);
        assert_eq!(check_nesting(&text).is_ok(), levels <= 128, "{levels}");
    }
    for text in [nested(145), "[".repeat(3_000_000)] {
        let reason = Raw::read(&text).err().unwrap();
        assert!(reason.contains("deeper than 128"), "{reason}");
    }
}

#[test]
fn brackets_in_strings_do_not_nest() {
    let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(500), "{".repeat(500));
    assert_eq!(nesting(&text), 1);
}

#[test]
fn the_error_for_invalid_json_names_the_place() {
    for text in ["", "{", "{\"a\":}", "{} {}", "{\"a\":\"\n\"}", "{'a':1}"] {
        let reason = Raw::read(text).err().unwrap();
        assert!(
            reason.starts_with("is not valid JSON: "),
            "{text}: {reason}"
        );
    }
}

#[test]
fn lone_surrogates_and_byte_order_marks_are_replaced() {
    for (text, expected) in [
        ("\u{feff}{}", "{}"),
        (r#"["\ud83d"]"#, "[\"\u{fffd}\"]"),
        (
            r#"["\udc00 \ud83d\ud83d\ude00"]"#,
            "[\"\u{fffd} \u{fffd}\\ud83d\\ude00\"]",
        ),
        (r#"["\ud83d\ude00"]"#, r#"["\ud83d\ude00"]"#),
        (r#"["\ud83d\ude00\udc00"]"#, "[\"\\ud83d\\ude00\u{fffd}\"]"),
        (r#"["\\ud83d"]"#, r#"["\\ud83d"]"#),
        (r#"["\é\uD800"]"#, "[\"\\é\u{fffd}\"]"),
        (r#"["\u00e9"]"#, r#"["\u00e9"]"#),
        ("\\", "\\"),
        ("\\ud8", "\\ud8"),
        ("\\é", "\\é"),
    ] {
        assert_eq!(cleaned(text), expected);
    }
}

#[test]
fn an_object_keeps_what_is_ours_and_counts_the_rest() {
    let text =
        r#"{"a":{"source":1},"time":"now","b":2,"time":3,"jobTyp":null,"_x":1,"detail":null}"#;
    let object = Raw::read(text).unwrap().object().unwrap();
    let (time, place) = object.get("time").unwrap();
    assert_eq!((time.string().as_deref(), place), (Some("now"), 1));
    assert!(!object.has("source") && !object.has("detail"));
    assert_eq!(object.repeated(), [("time", 3)]);
    assert_eq!(object.unknown.count, 3);
    assert_eq!(
        object.near_misses.first,
        [(("jobTyp".to_owned(), "jobType"), 4)]
    );
}

#[test]
fn a_list_keeps_its_first_items_and_counts_the_rest() {
    let items = Raw::read("[1, {}, 3]").unwrap().items(2).unwrap();
    assert_eq!((items.first.len(), items.count), (2, 3));
    assert!(Raw::read("{}").unwrap().items(2).is_none());
}

#[test]
fn paths_read_like_json_path_and_sort_in_the_order_of_the_payload() {
    let root = Path::Root;
    let detail = root.member("detail", 3);
    let targets = detail.member("targets", 0);
    let item = targets.item(2);
    let job_type = item.member("jobType", 1);
    assert_eq!(job_type.to_string(), "$.detail.targets[2].jobType");
    assert_eq!(job_type.order(), [3, 0, 2, 1]);
    assert_eq!(
        root.member("detail-type", 0).to_string(),
        "$['detail-type']"
    );
    assert_eq!(root.missing("").to_string(), "$['']");
    assert_eq!(root.member("a'\n", 0).to_string(), "$['a\\'\\n']");
    let long = "x".repeat(1000);
    assert!(root.member(&long, 0).to_string().len() < 80);
    assert!(root.missing("a").order() > root.member("a", 9).order());
}
