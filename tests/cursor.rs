//! What a checkpoint remembers beside its tensors, and the bytes of those: what differs is told, what is not finite is never written.

use std::collections::BTreeMap;

use medserl::{
    config::{AlarmKind, AlarmsConfig, CheckpointConfig, RunConfig},
    task::{Label, LabelledNote, Note, PromptStyle, note::Sentence},
    train::{
        cursor::{Cursor, Origin, config_hash, notes_hash, prompt_hash},
        tensors::{Array, NotFinite, decode, encode, first_not_finite},
    },
};

fn origin() -> Origin {
    Origin {
        model_hash: Some("model".repeat(8)),
        tokenizer_hash: Some("tokenizer".repeat(8)),
        prompt_hash: Some(prompt_hash(PromptStyle::Brief)),
        data_hash: Some("data".repeat(8)),
        threads: Some(2),
        model_commit: None,
        micro_batch_plan: Some("2048 rows".into()),
    }
}

fn cursor() -> Cursor {
    Cursor {
        step: 4,
        optimizer_steps: 17,
        config_hash: "abc".into(),
        program_version: "0.1.0".into(),
        origin: origin(),
        wall_seconds: Some(12.1),
    }
}

#[test]
fn a_cursor_comes_back_and_an_old_one_is_still_read() {
    let text = serde_json::to_string_pretty(&cursor()).unwrap();
    assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor());
    let old = r#"{"step": 4, "optimizer_steps": 17, "config_hash": "abc", "program_version": "0.1.0"}"#;
    let read: Cursor = serde_json::from_str(old).unwrap();
    assert_eq!(read, Cursor { origin: Origin::default(), wall_seconds: None, ..cursor() });
    assert_eq!(read.differences(&origin(), "0.1.0"), Default::default(), "what is not known is not compared");
    for broken in ["{}", r#"{"step": -1, "optimizer_steps": 1, "config_hash": "", "program_version": ""}"#, "[]", ""] {
        assert!(serde_json::from_str::<Cursor>(broken).is_err(), "{broken}");
    }
}

#[test]
fn what_would_make_another_run_is_told_from_what_only_moves_bits() {
    let differences = |change: fn(&mut Origin)| {
        let mut now = origin();
        change(&mut now);
        let found = cursor().differences(&now, "0.1.0");
        (found.forbidden, found.notable)
    };
    assert_eq!(differences(|_| ()), (vec![], vec![]));
    type Change = fn(&mut Origin);
    let forbidden: [(Change, &str); 4] = [
        (|o| o.model_hash = Some("other".into()), "weights"),
        (|o| o.tokenizer_hash = Some("other".into()), "tokenizer"),
        (|o| o.prompt_hash = Some(prompt_hash(PromptStyle::Full)), "prompts"),
        (|o| o.data_hash = Some("other".into()), "notes"),
    ];
    for (change, word) in forbidden {
        let (forbidden, notable) = differences(change);
        assert!(forbidden.len() == 1 && forbidden[0].contains(word) && notable.is_empty(), "{forbidden:?} {notable:?}");
    }
    let notable: [(Change, &str); 2] =
        [(|o| o.threads = Some(4), "4"), (|o| o.micro_batch_plan = Some("1024 rows".into()), "1024 rows")];
    for (change, word) in notable {
        let (forbidden, notable) = differences(change);
        assert!(notable.len() == 1 && notable[0].contains(word) && forbidden.is_empty(), "{forbidden:?} {notable:?}");
    }
    assert!(cursor().differences(&origin(), "0.2.0").notable[0].contains("0.1.0"));
}

#[test]
fn an_experiment_is_the_same_where_only_its_care_differs() {
    let hash = |config: RunConfig| config_hash(&config).unwrap();
    let same = hash(RunConfig::default());
    assert_eq!(hash(RunConfig { steps: 9, threads: 3, ..RunConfig::default() }), same);
    let checkpoint = CheckpointConfig { every: 1, keep: 9, max_gb: Some(2.0) };
    let alarms = AlarmsConfig { off: vec![AlarmKind::Kl], ..AlarmsConfig::default() };
    assert_eq!(hash(RunConfig { checkpoint, alarms, ..RunConfig::default() }), same);
    assert_ne!(hash(RunConfig { seed: 2, ..RunConfig::default() }), same);
    assert_ne!(hash(RunConfig { prompts: Some(PromptStyle::Full), ..RunConfig::default() }), same);
}

#[test]
fn the_hash_of_notes_sees_every_word_label_and_order() {
    let note = |text: &str, label| LabelledNote {
        note: Note { id: "a".into(), group: "g".into(), sentences: vec![Sentence { id: 0, text: text.into() }] },
        label,
    };
    let hash = |notes: &[LabelledNote]| notes_hash(notes).unwrap();
    let (one, two) = (note("Fever.", Label::Clean), note("Cough.", Label::Clean));
    let both = hash(&[one.clone(), two.clone()]);
    assert_eq!(both, hash(&[one.clone(), two.clone()]));
    let error = Label::Error { kind: medserl::task::ErrorKind::Diagnosis, sentence: 0, correction: "Chills.".into() };
    let others = [
        hash(&[two.clone(), one.clone()]),
        hash(std::slice::from_ref(&one)),
        hash(&[note("Fever!", Label::Clean), two]),
        hash(&[note("Fever.", error)]),
    ];
    assert!(others.iter().all(|other| *other != both));
    assert_ne!(prompt_hash(PromptStyle::Brief), prompt_hash(PromptStyle::Full));
}

fn arrays(values: Vec<f32>) -> BTreeMap<String, Array> {
    let n = values.len();
    BTreeMap::from([
        ("first.a".to_owned(), Array { shape: vec![2, n / 2], values: values.clone() }),
        ("second.a".to_owned(), Array { shape: vec![n], values }),
    ])
}

#[test]
fn arrays_come_back_bit_by_bit() {
    let odd = vec![0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, -1.5, 1e-45];
    let bytes = encode(&arrays(odd.clone())).unwrap();
    assert_eq!(bytes, encode(&arrays(odd.clone())).unwrap());
    let back = decode(&bytes).unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(back.keys().collect::<Vec<_>>(), ["first.a", "second.a"]);
    assert_eq!((back["first.a"].shape.as_slice(), bits(&back["second.a"].values)), ([2, 3].as_slice(), bits(&odd)));
    assert!(encode(&BTreeMap::from([("x".to_owned(), Array { shape: vec![7], values: vec![0.0] })])).is_err());
    for broken in [&bytes[..bytes.len() - 1], &bytes[..9], b"", b"no tensors here"] {
        assert!(decode(broken).is_err());
    }
}

#[test]
fn a_value_that_is_not_finite_is_never_written() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 17, 63] {
            let mut values = vec![0.5; 64];
            values[at] = bad;
            assert_eq!(first_not_finite(&values), Some(at));
            let error = encode(&arrays(values)).unwrap_err();
            let error: &NotFinite = error.downcast_ref().unwrap();
            assert!(error.name == "first.a" && error.at == at && !error.value.is_finite(), "{error}");
        }
    }
    assert_eq!(first_not_finite(&[0.0, f32::MAX]), None);
}
