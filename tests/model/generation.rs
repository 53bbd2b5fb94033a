//! Drawing text: caches against whole forwards, the sampler's log-probs against scoring, streams against batches.

use std::sync::Arc;

use medserl::{
    model::{
        alternatives::likeliest,
        batch::TokenBatch,
        gemma3::Gemma3,
        generate::{Source, generate},
        lora::AdapterView,
        plan::Plan,
        random::uniform,
    },
    task::{Completion, GenerateRequest, Sampling, StopReason},
};

use super::tiny::{awake, chat, model, tokenizer};

/// Room for all completions at once.
const ROOM: usize = 1 << 30;

const WARM: Sampling = Sampling { temperature: 0.8, max_tokens: 24 };

fn request(text: &str, n_completions: usize, stream: u64) -> GenerateRequest {
    GenerateRequest { chat: chat(text), n_completions, stream }
}

fn requests() -> Vec<GenerateRequest> {
    vec![
        request("0 A man has chest pain.\n1 He is given aspirin.", 3, 11),
        request("0 Fever.", 1, 12),
        request("0 A 30-year-old woman has a cough for two weeks and night sweats.", 2, 13),
    ]
}

fn write(
    model: &Gemma3,
    view: &AdapterView,
    seed: u64,
    requests: &[GenerateRequest],
    sampling: Sampling,
) -> Vec<Vec<Completion>> {
    let source = Source { model, adapter: Some(view), stops: &tokenizer().stops, seed, cache_bytes: ROOM };
    generate(source, tokenizer(), requests, sampling, &mut |_, _, _| true).unwrap()
}

#[test]
fn greedy_decoding_with_caches_equals_whole_forwards() {
    let (model, view) = (model(), awake().frozen());
    let requests = requests();
    let all = write(&model, &view, 1, &requests, Sampling { temperature: 0.0, max_tokens: 20 });
    for (request, completions) in requests.iter().zip(&all) {
        let mut ids = tokenizer().encode_chat(&request.chat).unwrap();
        assert!(completions.windows(2).all(|pair| pair[0] == pair[1]), "greedy siblings are the same");
        for token in &completions[0].tokens {
            let mut plan = Plan::default();
            plan.push_root(ids.len());
            let hidden = model.forward(&ids, &Arc::new(plan), Some(&view)).unwrap();
            let logits: Vec<f32> = model.logits(&hidden).unwrap().get(ids.len() - 1).unwrap().to_vec1().unwrap();
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert_eq!(best as u32, *token, "after {} tokens", ids.len());
            ids.push(*token);
        }
    }
}

#[test]
fn the_likeliest_tokens_at_a_draw_are_noted_with_their_log_probs() {
    let (model, view) = (model(), awake().frozen());
    for completion in write(&model, &view, 1, &requests(), WARM).iter().flatten() {
        assert_eq!(completion.alternatives.len(), 5 * completion.tokens.len());
        for ((five, token), logprob) in
            completion.alternatives.chunks(5).zip(&completion.tokens).zip(&completion.rollout_logprobs)
        {
            assert!(five.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob), "{five:?}");
            let sum: f32 = five.iter().map(|a| a.logprob.exp()).sum();
            assert!(sum <= 1.0 + 1e-4, "{five:?}");
            match five.iter().find(|a| a.token == *token) {
                Some(drawn) => assert!((drawn.logprob - logprob).abs() < 1e-5, "{drawn:?} was drawn at {logprob}"),
                None => assert!(*logprob <= five[4].logprob + 1e-5, "{token} at {logprob} is likelier than {five:?}"),
            }
        }
    }
    // Against sorting, with ties, infinities and fewer tokens than five.
    for (n, seed) in [(3, 1), (5, 2), (256, 3), (1000, 4), (70_000, 5)] {
        let mut logits: Vec<f32> = uniform(seed, 1, n, 4.0).into_iter().map(|x| (x * 8.0).round() / 8.0).collect();
        logits[n / 2] = f32::NEG_INFINITY;
        let mut order: Vec<usize> = (0..n).filter(|i| logits[*i].is_finite()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        let found = likeliest(&logits, 0.5, 1.0);
        for (rank, i) in order.into_iter().take(5).enumerate() {
            assert_eq!((found[rank].token as usize, found[rank].logprob), (i, logits[i] * 0.5 - 1.0), "rank {rank} of {n}");
        }
    }
}

#[test]
fn the_samplers_log_probs_are_those_of_a_scoring_pass() {
    let (model, view) = (model(), awake().frozen());
    let requests = requests();
    for (request, completions) in requests.iter().zip(write(&model, &view, 1, &requests, WARM)) {
        let prompt = tokenizer().encode_chat(&request.chat).unwrap();
        let mut batch = TokenBatch::default();
        batch.push(&prompt, &completions.iter().map(|c| c.tokens.as_slice()).collect::<Vec<_>>());
        let (scored, _) = batch.score(&model, Some(&view), WARM.temperature).unwrap();
        let drawn: Vec<f32> = completions.iter().flat_map(|c| c.rollout_logprobs.clone()).collect();
        assert_eq!(drawn.len(), scored.len());
        for (drawn, scored) in drawn.iter().zip(&scored) {
            assert!((drawn - scored).abs() < 1e-4, "drawn with {drawn}, scored {scored}");
        }
    }
}

#[test]
fn a_completion_does_not_depend_on_its_batch() {
    let (model, view) = (model(), awake().frozen());
    let all = write(&model, &view, 1, &requests(), WARM);
    for (i, request) in requests().into_iter().enumerate() {
        let alone = write(&model, &view, 1, &[request], WARM);
        let tokens = |c: &[Completion]| c.iter().map(|c| c.tokens.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&alone[0]), tokens(&all[i]));
    }
}

#[test]
fn another_seed_stream_or_sibling_draws_another_text() {
    let (model, view) = (model(), awake().frozen());
    let draw = |seed, stream| write(&model, &view, seed, &[request("0 Fever.", 2, stream)], WARM).remove(0);
    let first = draw(1, 11);
    assert_eq!(first, draw(1, 11));
    assert_ne!(first[0].tokens, first[1].tokens);
    assert_ne!(first[0].tokens, draw(1, 12)[0].tokens);
    assert_ne!(first[0].tokens, draw(2, 11)[0].tokens);
}

#[test]
fn text_arrives_piece_by_piece_and_whole() {
    let (model, view) = (model(), awake().frozen());
    let source = Source { model: &model, stops: &tokenizer().stops, adapter: Some(&view), seed: 1, cache_bytes: ROOM };
    let mut heard = std::collections::BTreeMap::<(usize, usize), String>::new();
    let all = generate(source, tokenizer(), &requests(), WARM, &mut |request, sibling, delta| {
        heard.entry((request, sibling)).or_default().push_str(delta);
        true
    })
    .unwrap();
    for (request, completions) in all.iter().enumerate() {
        for (sibling, c) in completions.iter().enumerate() {
            assert_eq!(heard.get(&(request, sibling)).map_or("", String::as_str), c.text);
            assert_eq!(c.tokens.len(), c.rollout_logprobs.len());
            let stopped = c.tokens.last().is_some_and(|t| tokenizer().stops.contains(t));
            let expected = if stopped { StopReason::EndOfTurn } else { StopReason::Length };
            assert_eq!((c.stop, c.tokens.len() == WARM.max_tokens || stopped), (expected, true));
        }
    }
}

#[test]
fn drawing_ends_at_once_when_told_to() {
    let (model, view) = (model(), awake().frozen());
    let source = Source { model: &model, stops: &tokenizer().stops, adapter: Some(&view), seed: 1, cache_bytes: ROOM };
    let mut n = 0;
    let all = generate(source, tokenizer(), &requests(), WARM, &mut |_, _, _| {
        n += 1;
        n < 9
    })
    .unwrap();
    assert_eq!(n, 9);
    let completions: Vec<&Completion> = all.iter().flatten().collect();
    assert_eq!(completions.len(), 6);
    assert!(completions.iter().any(|c| c.stop == StopReason::Aborted));
    assert!(completions.iter().all(|c| c.tokens.len() < WARM.max_tokens));
}

#[test]
fn a_prompt_that_cannot_fit_is_refused() {
    let (model, view) = (model(), awake().frozen());
    let source = Source { model: &model, stops: &tokenizer().stops, adapter: Some(&view), seed: 1, cache_bytes: ROOM };
    let long = request(&"fever ".repeat(600), 1, 1);
    let error = generate(source, tokenizer(), &[long], WARM, &mut |_, _, _| true).unwrap_err().to_string();
    assert!(error.contains("512 positions"), "{error}");
}

#[test]
fn little_room_for_caches_changes_nothing_but_the_order_of_work() {
    let (model, view) = (model(), awake().frozen());
    let all = write(&model, &view, 1, &requests(), WARM);
    for cache_bytes in [1, 3 * 24 * 1024, 1 << 20] {
        let source = Source { model: &model, adapter: Some(&view), stops: &tokenizer().stops, seed: 1, cache_bytes };
        let mut most_open = std::collections::BTreeSet::new();
        let few = generate(source, tokenizer(), &requests(), WARM, &mut |request, _, _| {
            most_open.insert(request);
            true
        })
        .unwrap();
        let tokens = |all: &[Vec<Completion>]| all.iter().flatten().map(|c| c.tokens.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&few), tokens(&all), "{cache_bytes} bytes");
        assert_eq!(most_open.len(), 3, "every request was heard of");
    }
}
