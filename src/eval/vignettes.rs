//! The notes of an audit: ten made-up vignettes, each an error note and its clean sibling. Text only; knows no policy and no reward.

use crate::task::{ErrorKind, Label, LabelledNote, Note, Sentence};

/// Every type comes twice, and seven errors of ten stand in the last sentence, as about two thirds do in MEDEC.
struct Vignette {
    kind: ErrorKind,
    /// The clean note.
    sentences: &'static [&'static str],
    /// Which sentence goes wrong, and how it then reads.
    at: u32,
    wrong: &'static str,
}

const fn vignette(kind: ErrorKind, sentences: &'static [&'static str], at: u32, wrong: &'static str) -> Vignette {
    Vignette { kind, sentences, at, wrong }
}

const VIGNETTES: [Vignette; 10] = [
    vignette(
        ErrorKind::Diagnosis,
        &[
            "A 19-year-old man has had pain in the right lower abdomen since yesterday.",
            "He is tender at McBurney's point.",
            "He is diagnosed with acute appendicitis.",
        ],
        2,
        "He is diagnosed with renal colic.",
    ),
    vignette(
        ErrorKind::Diagnosis,
        &[
            "A 67-year-old woman has sudden painless loss of vision in her left eye.",
            "Fundoscopy shows a cherry-red spot, and central retinal artery occlusion is diagnosed.",
            "She is referred to the stroke unit.",
        ],
        1,
        "Fundoscopy shows a cherry-red spot, and central retinal vein occlusion is diagnosed.",
    ),
    vignette(
        ErrorKind::Management,
        &[
            "A 24-year-old woman has pelvic pain and a positive pregnancy test.",
            "Her blood pressure is 118/74 mm Hg.",
            "A transvaginal ultrasound is arranged for today.",
        ],
        2,
        "A transvaginal ultrasound is arranged for next month.",
    ),
    vignette(
        ErrorKind::Management,
        &[
            "A 58-year-old man has crushing chest pain.",
            "The electrocardiogram shows ST elevation in leads II, III and aVF.",
            "His blood pressure is 132/80 mm Hg.",
            "He is taken to the catheterization laboratory at once.",
        ],
        3,
        "He is sent home with an appointment for a stress test.",
    ),
    vignette(
        ErrorKind::Treatment,
        &[
            "A 20-year-old man has acute appendicitis on computed tomography.",
            "He has no allergies.",
            "He undergoes laparoscopic appendectomy.",
        ],
        2,
        "He undergoes shock wave lithotripsy.",
    ),
    vignette(
        ErrorKind::Treatment,
        &[
            "A 34-year-old man has a tension pneumothorax after a fall.",
            "Needle decompression is done at once.",
            "A chest tube is placed afterwards.",
        ],
        1,
        "Needle pericardiocentesis is done at once.",
    ),
    vignette(
        ErrorKind::Pharmacotherapy,
        &[
            "A 29-year-old woman has dysuria in the tenth week of pregnancy.",
            "Urine culture grows Escherichia coli.",
            "Cephalexin is given for seven days.",
        ],
        2,
        "Doxycycline is given for seven days.",
    ),
    vignette(
        ErrorKind::Pharmacotherapy,
        &[
            "A 71-year-old man has atrial fibrillation.",
            "Apixaban is started to prevent stroke.",
            "He will be seen again in a month.",
        ],
        1,
        "Prednisone is started to prevent stroke.",
    ),
    vignette(
        ErrorKind::CausalOrganism,
        &[
            "A 45-year-old man has fever and a productive cough.",
            "Gram stain of the sputum shows gram-positive diplococci.",
            "Culture grows Streptococcus pneumoniae.",
        ],
        2,
        "Culture grows Pseudomonas aeruginosa.",
    ),
    vignette(
        ErrorKind::CausalOrganism,
        &[
            "A 31-year-old woman has watery diarrhea after a course of clindamycin.",
            "She has no fever.",
            "The stool toxin test is positive.",
            "The cause is Clostridioides difficile.",
        ],
        3,
        "The cause is Vibrio cholerae.",
    ),
];

/// Ten pairs, the error note before its clean sibling.
pub fn pool() -> Vec<LabelledNote> {
    VIGNETTES.iter().enumerate().flat_map(|(n, vignette)| pair(n, vignette)).collect()
}

fn pair(n: usize, vignette: &Vignette) -> [LabelledNote; 2] {
    let Vignette { kind, sentences, at, wrong } = *vignette;
    let group = format!("audit-{n}");
    let note = |which: &str, text_of: &dyn Fn(u32, &'static str) -> &'static str| {
        let sentences =
            (0..).zip(sentences.iter().copied()).map(|(id, text)| Sentence { id, text: text_of(id, text).to_owned() }).collect();
        Note { id: format!("{group}-{which}"), group: group.clone(), sentences }
    };
    let label = Label::Error { kind, sentence: at, correction: sentences[at as usize].to_owned() };
    [
        LabelledNote { note: note("error", &|id, text| if id == at { wrong } else { text }), label },
        LabelledNote { note: note("clean", &|_, text| text), label: Label::Clean },
    ]
}
