fn main() -> anyhow::Result<()> {
    for (d, c, m) in [("text","config.json","model.safetensors"),("text","config.published.json","model.safetensors"),("mm","config.json","model.safetensors"),("mm","config.published.json","model.language_model-prefix.safetensors")] {
        let rows = medserl::train::parity::compare(&std::path::Path::new("/work/shared/goldens/golden-1").join(d), c, m)?;
        println!("{d} {c} {m}");
        for r in rows { println!("  {:20} {:6} {:.2e} <= {:.2e} {}", r.what, r.n_values, r.max_difference, r.allowed, if r.passed {"ok"} else {"FAIL"}); }
    }
    Ok(())
}
