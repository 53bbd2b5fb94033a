//! Outputs as models really write them, each with its verdict by hand: the demanded form and its variants, half answers, chat
//! habits, other formats, other languages, runaway text.

use medserl::task::{
    ErrorKind::{CausalOrganism, Diagnosis, Management, Pharmacotherapy, Treatment},
    Malformation::{self, *},
    StopReason,
    StopReason::{EndOfTurn, Length},
    Verdict, verdict,
};

use super::error;

fn bad(why: Malformation) -> Verdict {
    Verdict::Malformed { why }
}

#[track_caller]
fn check_all(table: Vec<(&str, StopReason, Verdict)>) {
    for (n, (text, stop, expected)) in table.into_iter().enumerate() {
        assert_eq!(verdict::read(text, stop), expected, "row {n}: {text:?}");
    }
}

#[test]
#[rustfmt::skip]
fn answers_in_the_demanded_form() {
    check_all(vec![
        ("<thinking>The patient has fever, productive cough and lobar consolidation. Pneumonia is right, and amoxicillin \
          fits.</thinking>\n<verdict>No Clinical Error</verdict>", EndOfTurn, Verdict::Clean),
        ("<thinking>\nStep 1: 58-year-old woman, type 2 diabetes.\nStep 2: eGFR is 22 mL/min, so metformin is contraindicated.\n\
          Step 3: sentence 4 continues metformin.\n</thinking>\n<verdict>Error: Pharmacotherapy; Sentence: 4; Correction: \
          Metformin is stopped and linagliptin is started.</verdict>\n", EndOfTurn,
          error(Pharmacotherapy, Some(4), Some("Metformin is stopped and linagliptin is started."))),
        ("<thinking>Painless jaundice with a palpable gallbladder points to pancreatic cancer, not to \
          gallstones.</thinking><verdict>Error: Diagnosis; Sentence: 7; Correction: The patient is diagnosed with pancreatic \
          adenocarcinoma.</verdict>", EndOfTurn,
          error(Diagnosis, Some(7), Some("The patient is diagnosed with pancreatic adenocarcinoma."))),
        ("<thinking>Gram-positive cocci in clusters, coagulase positive: this is S. aureus.</thinking>\n\n<verdict>Error: \
          causalOrganism; Sentence: 9; Correction: Culture grows Staphylococcus aureus.</verdict>", EndOfTurn,
          error(CausalOrganism, Some(9), Some("Culture grows Staphylococcus aureus."))),
        ("<thinking>An unstable patient needs surgery now, imaging can wait.</thinking><verdict>Error: Management; Sentence: \
          11</verdict>",
          EndOfTurn, error(Management, Some(11), None)),
        ("<thinking>He has a tension pneumothorax, so decompression comes first.</thinking><verdict>Error: \
          Treatment</verdict>", EndOfTurn,
          error(Treatment, None, None)),
        ("<thinking>I considered Error: Diagnosis, but no clinical error is present in this note.</thinking><verdict>No \
          Clinical Error</verdict>", EndOfTurn, Verdict::Clean),
        ("<thinking>Potassium 2.9 < 3.5 and QTc 510 > 450; \"hold furosemide\" is right & safe.</thinking><verdict>No Clinical \
          Error</verdict>",
          EndOfTurn, Verdict::Clean),
        ("<thinking>Aspirin; clopidogrel; heparin; all three are indicated here.</thinking><verdict>Error: Pharmacotherapy; \
          Sentence: 3; Correction: Aspirin 325 mg; clopidogrel 600 mg; heparin bolus.</verdict>", EndOfTurn,
          error(Pharmacotherapy, Some(3), Some("Aspirin 325 mg; clopidogrel 600 mg; heparin bolus."))),
        ("<thinking>The ratio of 1:320 supports the diagnosis given.</thinking><verdict>Error: Diagnosis; Sentence: 5; \
          Correction: ANA is positive at 1:320, so lupus is diagnosed.</verdict>", EndOfTurn,
          error(Diagnosis, Some(5), Some("ANA is positive at 1:320, so lupus is diagnosed."))),
        ("\u{a0}<thinking>A no-break space before and behind is still only space.</thinking>\u{a0}<verdict>No Clinical \
          Error</verdict>\u{a0}",
          EndOfTurn, Verdict::Clean),
        ("<thinking>Windows line ends\r\nshould not matter at all.</thinking>\r\n<verdict>\r\nNo Clinical Error\r\n\
          </verdict>\r\n", EndOfTurn,
          Verdict::Clean),
        ("<thinking>Everything fits with viral gastroenteritis here.</thinking><verdict>No Clinical Error</verdict>\n\n\n\n\n\n\
          \n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\
          ", EndOfTurn, Verdict::Clean), // a tail of blank lines
    ]);
}

#[test]
#[rustfmt::skip]
fn case_and_spacing_as_models_vary_them() {
    check_all(vec![
        ("<thinking>The findings agree with the diagnosis given.</thinking><verdict>no clinical \
          error</verdict>", EndOfTurn, Verdict::Clean),
        ("<thinking>The findings agree with the diagnosis given.</thinking><verdict>NO CLINICAL \
          ERROR.</verdict>", EndOfTurn, Verdict::Clean),
        ("<thinking>The dose is ten times too high.</thinking><verdict>ERROR: PHARMACOTHERAPY; SENTENCE: 2; CORRECTION: GIVE 5 \
          MG.</verdict>",
          EndOfTurn, error(Pharmacotherapy, Some(2), Some("GIVE 5 MG."))),
        ("<thinking>The dose is ten times too high.</thinking><verdict>error:pharmacotherapy;sentence:2;correction:give 5 \
          mg.</verdict>",
          EndOfTurn, error(Pharmacotherapy, Some(2), Some("give 5 mg."))),
        ("<thinking>The germ does not fit the picture.</thinking><verdict>Error : Causal-organism ; Sentence : \
          6</verdict>", EndOfTurn,
          error(CausalOrganism, Some(6), None)),
        ("<thinking>The germ does not fit the picture.</thinking><verdict>\n  Error: Causal\n  Organism;\n  Sentence: 6\n\
          </verdict>", EndOfTurn,
          error(CausalOrganism, Some(6), None)),
        ("<Thinking>The findings agree with the diagnosis given.</Thinking><Verdict>No Clinical Error</Verdict>", EndOfTurn,
          bad(MissingThinking)),
        ("<THINKING>THE FINDINGS AGREE WITH THE DIAGNOSIS.</THINKING><VERDICT>NO CLINICAL \
          ERROR</VERDICT>", EndOfTurn, bad(MissingThinking)),
        ("<thinking>The findings agree with the diagnosis given.</thinking><Verdict>No Clinical Error</Verdict>", EndOfTurn,
          bad(MissingVerdict)),
        ("<thinking>The findings agree with the diagnosis given.</Thinking><verdict>No Clinical Error</verdict>", EndOfTurn,
          bad(UnclosedThinking)),
        ("< thinking >The findings agree with the diagnosis.</ thinking >< verdict >No Clinical Error</ verdict >", EndOfTurn,
          bad(MissingThinking)),
    ]);
}

#[test]
#[rustfmt::skip]
fn truncated_and_half_answers() {
    check_all(vec![
        ("<thinking>The patient is a 45-year-old man with a history of hypertension who presents with", Length, bad(Truncated)),
        ("<thinking>The patient is a 45-year-old man with a history of hypertension who presents \
          with", EndOfTurn, bad(UnclosedThinking)),
        ("<thinking>All of it fits together well.</thinking>\n<verdict>No Clinical Err", Length, bad(Truncated)),
        ("<thinking>All of it fits together well.</thinking>\n<verdict>No Clinical Err", EndOfTurn, bad(UnclosedVerdict)),
        ("<thinking>All of it fits together well.</thinking>\n<verdict>No Clinical Error</verd", EndOfTurn, bad(UnclosedVerdict)),
        ("<thinking>All of it fits together well.</thinking>\n<verdict>No Clinical Error</verdict>", Length, bad(Truncated)),
        ("<thinking>All of it fits together well.</thinking>", EndOfTurn, bad(MissingVerdict)),
        ("<thinking>All of it fits together well.</thinki", EndOfTurn, bad(UnclosedThinking)),
        ("<thinking>All of it fits together well.</thinking><verdict></verdict>", EndOfTurn, bad(UnknownVerdict)),
        ("<thinking></thinking><verdict>Error: Diagnosis</verdict>", EndOfTurn, bad(ThinkingTooShort)),
        ("<thinking>Looks fine.</thinking><verdict>No Clinical Error</verdict>", EndOfTurn, bad(ThinkingTooShort)),
        ("<thinking>- - - - - - - -</thinking><verdict>No Clinical Error</verdict>", EndOfTurn, bad(ThinkingTooShort)),
        ("<thinking>No Clinical Error</thinking>", EndOfTurn, bad(ThinkingTooShort)),
        ("<verdict>Error: Management; Sentence: 3</verdict>", EndOfTurn, bad(MissingThinking)),
        ("No Clinical Error", EndOfTurn, bad(MissingThinking)),
        ("", EndOfTurn, bad(Empty)),
        ("", Length, bad(Truncated)),
        ("\n\n   \n", EndOfTurn, bad(Empty)),
        ("<", EndOfTurn, bad(MissingThinking)),
        ("</verdict>", EndOfTurn, bad(MissingThinking)),
    ]);
}

#[test]
#[rustfmt::skip]
fn chat_habits_around_the_answer() {
    check_all(vec![
        ("Sure! Here is my analysis:\n<thinking>The note is consistent in all its parts.</thinking><verdict>No Clinical \
          Error</verdict>",
          EndOfTurn, bad(TextBeforeThinking)),
        ("```xml\n<thinking>The note is consistent in all its parts.</thinking>\n<verdict>No Clinical Error</verdict>\n\
          ```", EndOfTurn,
          bad(TextBeforeThinking)),
        ("<thinking>The note is consistent in all its parts.</thinking>\n\n**Verdict:** <verdict>No Clinical \
          Error</verdict>", EndOfTurn,
          bad(TextBetween)),
        ("<thinking>The note is consistent in all its parts.</thinking>\n<verdict>No Clinical Error</verdict>\n\nLet me know if \
          you need anything else!", EndOfTurn, bad(TextAfterVerdict)),
        ("<thinking>The note is consistent in all its parts.</thinking>\n<verdict>No Clinical Error</verdict>\nlabel: \
          0", EndOfTurn,
          bad(TextAfterVerdict)),
        ("<thinking>The note is consistent in all its parts.</thinking>\n<verdict>No Clinical Error</verdict><end_of_turn>\n\
          <start_of_turn>user",
          EndOfTurn, bad(TextAfterVerdict)),
        ("<thinking>The note is consistent in all its parts.</thinking><verdict>**No Clinical Error**</verdict>", EndOfTurn,
          bad(UnknownVerdict)),
        ("<thinking>The note is consistent in all its parts.</thinking><verdict>\"No Clinical Error\"</verdict>", EndOfTurn,
          bad(UnknownVerdict)),
        ("<thinking>The note is consistent in all its parts.</thinking><verdict>There is no clinical error in this \
          note.</verdict>", EndOfTurn,
          bad(UnknownVerdict)),
        ("<thinking>The drug is wrong for this patient.</thinking><verdict>Error: Pharmacotherapy (wrong \
          drug)</verdict>", EndOfTurn,
          bad(UnknownType)),
        ("<thinking>The drug is wrong for this patient.</thinking><verdict>Error: Pharmacotherapy; Sentence: \
          four</verdict>", EndOfTurn,
          bad(BadSentence)),
        ("<thinking>The drug is wrong for this patient.</thinking><verdict>Error: Pharmacotherapy; Sentence: \
          4-5</verdict>", EndOfTurn,
          bad(BadSentence)),
        ("<thinking>The drug is wrong for this patient.</thinking><verdict>Error: Pharmacotherapy; Sentence: 4; Correction: \
          </verdict>",
          EndOfTurn, bad(EmptyCorrection)),
        ("<thinking>The drug is wrong for this patient.</thinking><verdict>Error: Pharmacotherapy, Sentence: \
          4</verdict>", EndOfTurn,
          bad(UnknownType)),
        ("<thinking>The drug is wrong for this patient.</thinking><verdict>Error: \
          Medication</verdict>", EndOfTurn, bad(UnknownType)),
        ("<thinking>The drug is wrong for this patient.</thinking><verdict>Error: TYPE; Sentence: NUMBER; Correction: the whole \
          corrected sentence</verdict>", EndOfTurn, bad(BadSentence)),
        ("<thinking>I am not sure about this note.</thinking><verdict>Uncertain</verdict>", EndOfTurn, bad(UnknownVerdict)),
        ("I'm sorry, but as an AI language model I cannot give medical advice.", EndOfTurn, bad(MissingThinking)),
        ("{\"thinking\": \"The note is consistent.\", \"verdict\": \"No Clinical Error\"}", EndOfTurn, bad(MissingThinking)),
        ("<think>The note is consistent in all its parts.</think><answer>CORRECT</answer>", EndOfTurn, bad(MissingThinking)),
        ("<thinking>The note is consistent in all its parts.</thinking><answer>No Clinical \
          Error</answer>", EndOfTurn, bad(MissingVerdict)),
        ("final_answer: CORRECT Explanation: the note is consistent.", EndOfTurn, bad(MissingThinking)),
    ]);
}

#[test]
#[rustfmt::skip]
fn nested_repeated_and_contradictory_answers() {
    check_all(vec![
        ("<thinking>First I think it is fine.</thinking><verdict>No Clinical Error</verdict>\n<thinking>On second thought it is \
          not.</thinking><verdict>Error: Diagnosis</verdict>", EndOfTurn, bad(RepeatedTag)),
        ("<thinking>The plan is wrong for him.</thinking><verdict>Error: Management</verdict><verdict>Error: \
          Management</verdict>", EndOfTurn,
          bad(RepeatedTag)),
        ("<thinking><thinking>The plan is wrong for him.</thinking></thinking><verdict>Error: Management</verdict>", EndOfTurn,
          bad(RepeatedTag)),
        ("<thinking>The plan is wrong <verdict>Error: Management</verdict> for him, I \
          think.</thinking>", EndOfTurn, bad(MissingVerdict)),
        ("<thinking>I must answer with <verdict> now, so here it comes.</thinking><verdict>No Clinical \
          Error</verdict>", EndOfTurn,
          bad(RepeatedTag)),
        ("<verdict>No Clinical Error</verdict><thinking>Everything in the note fits \
          well.</thinking>", EndOfTurn, bad(TextBeforeThinking)),
        ("<thinking>Both may be true in this case.</thinking><verdict>No Clinical Error / Error: Diagnosis</verdict>", EndOfTurn,
          bad(UnknownVerdict)),
        ("<thinking>Both may be true in this case.</thinking><verdict>Error: Diagnosis or Error: Treatment</verdict>", EndOfTurn,
          bad(UnknownType)),
        ("<thinking>There are two errors in this note.</thinking><verdict>Error: Diagnosis; Sentence: 2\nError: Treatment; \
          Sentence: 5</verdict>", EndOfTurn, bad(BadSentence)),
        ("<thinking>The drug is wrong for him.</thinking><verdict>Error: Treatment; Sentence: 2; Sentence: \
          5</verdict>", EndOfTurn,
          bad(BadSentence)),
        ("<thinking>The drug is wrong for him.</thinking><verdict>Error: Treatment; Correction: Rest; Sentence: \
          5</verdict>", EndOfTurn,
          error(Treatment, None, Some("Rest; Sentence: 5"))), // the correction is the last field
        ("<thinking>The drug is wrong for him.</thinking><verdict>Sentence: 5; Error: \
          Treatment</verdict>", EndOfTurn, bad(UnknownVerdict)),
    ]);
}

#[test]
#[rustfmt::skip]
fn answers_in_other_languages_and_scripts() {
    check_all(vec![
        ("<thinking>Der Patient hat Fieber und Husten, die Diagnose passt.</thinking><verdict>No Clinical \
          Error</verdict>", EndOfTurn,
          Verdict::Clean),
        ("<thinking>Der Patient hat Fieber und Husten, die Diagnose passt.</thinking><verdict>Kein klinischer \
          Fehler</verdict>", EndOfTurn,
          bad(UnknownVerdict)),
        ("<thinking>El paciente no debe recibir metformina con este filtrado.</thinking><verdict>Error: Pharmacotherapy; \
          Sentence: 3; Correction: Se suspende la metformina.</verdict>", EndOfTurn,
          error(Pharmacotherapy, Some(3), Some("Se suspende la metformina."))),
        ("<thinking>El diagnóstico no es compatible con la clínica.</thinking><verdict>Error: Diagnóstico</verdict>", EndOfTurn,
          bad(UnknownType)),
        ("<thinking>Le patient présente une fièvre à 38,6 °C.</thinking><verdict>Erreur : Diagnostic</verdict>", EndOfTurn,
          bad(UnknownVerdict)),
        ("<thinking>患者发热咳嗽，诊断与检查结果一致。</thinking><verdict>No Clinical Error</verdict>", EndOfTurn,
          bad(ThinkingTooShort)), // no spaces: one word
        ("<thinking>患者 发热 咳嗽 诊断 正确</thinking><verdict>No Clinical Error</verdict>", EndOfTurn, Verdict::Clean),
        ("<thinking>The culture result does not fit here.</thinking><verdict>错误：诊断</verdict>", EndOfTurn, bad(UnknownVerdict)),
        ("<thinking>The culture result does not fit here.</thinking><verdict>Error： Diagnosis； Sentence： 3</verdict>", EndOfTurn,
          bad(UnknownVerdict)), // full-width colon
        ("<thinking>У пациента лихорадка и кашель три дня.</thinking><verdict>Еrror: Diagnosis</verdict>", EndOfTurn,
          bad(UnknownVerdict)), // Cyrillic Ie in Error
        ("<thinking>المريض يعاني من حمى وسعال شديد</thinking><verdict>Error: Treatment; Sentence: ٣</verdict>", EndOfTurn,
          bad(BadSentence)), // Arabic-Indic digit
        ("<thinking>Ο ασθενής έχει πυρετό και βήχα.</thinking><verdict>Error: Τreatment</verdict>", EndOfTurn,
          bad(UnknownType)), // Greek Tau
        ("\u{feff}<thinking>A byte-order mark stands before the answer.</thinking><verdict>No Clinical \
          Error</verdict>", EndOfTurn,
          bad(TextBeforeThinking)),
        ("<thinking>\u{fffd}\u{fffd} broken bytes \u{fffd} in the middle of it</thinking><verdict>No Clinical \
          Error</verdict>", EndOfTurn,
          Verdict::Clean),
        ("‹thinking›The note is consistent in all its parts.‹/thinking›‹verdict›No Clinical Error‹/verdict›", EndOfTurn,
          bad(MissingThinking)),
        ("&lt;thinking&gt;The note is consistent.&lt;/thinking&gt;&lt;verdict&gt;No Clinical Error&lt;/verdict&gt;", EndOfTurn,
          bad(MissingThinking)),
        ("<thinking>The note is consistent in all its parts 🙂.</thinking><verdict>No Clinical Error 🙂</verdict>", EndOfTurn,
          bad(UnknownVerdict)),
    ]);
}

#[test]
fn answers_of_a_mebibyte() {
    let mib = |piece: &str| piece.repeat((1 << 20) / piece.len() + 1);
    let ramble = mib("and then the patient was seen again, ");
    let think = |verdict: &str| format!("<thinking>{ramble}</thinking>{verdict}");
    let check = |text: &str, expected: Verdict| {
        assert!(text.len() > 1 << 20);
        // Not assert_eq: a failure must not print a mebibyte.
        let found = verdict::parse(text);
        assert!(found == expected, "{}…", format!("{found:?}").chars().take(200).collect::<String>());
    };
    check(&think("<verdict>Error: Treatment; Sentence: 3</verdict>"), error(Treatment, Some(3), None));
    check(&think(""), bad(MissingVerdict));
    check(&think("<verdict>No Clinical Error"), bad(UnclosedVerdict));
    check(&format!("<thinking>{ramble}"), bad(UnclosedThinking));
    check(&ramble, bad(MissingThinking));
    check(&mib("<thinking>"), bad(RepeatedTag));
    check(&mib(" \n"), bad(Empty));
    let answer = |verdict: &str| format!("<thinking>The plan is wrong for him.</thinking><verdict>{verdict}</verdict>");
    check(&answer(&format!("Error: Treatment; Correction: {ramble}")), error(Treatment, None, Some(ramble.trim_end())));
    check(&answer(&format!("Error: Treatment; Sentence: {}", mib("1"))), bad(BadSentence));
    check(&answer(&format!("Error: {}", mib("Treatment "))), bad(UnknownType));
    check(&answer(&mib("No Clinical Error ")), bad(UnknownVerdict));
    check(&format!("{}{}", answer("No Clinical Error"), mib("\n")), Verdict::Clean);
}
