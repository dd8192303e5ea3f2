//! Makes sure that the folder of the web app exists, so that a fresh checkout compiles.

use std::io::Write;
use std::path::Path;

const PLACEHOLDER: &str = "<!doctype html>
<meta charset=\"utf-8\">
<title>Furrow</title>
<p>The web app has not been built: run <code>npm ci &amp;&amp; npm run build</code> in <code>ingest/web</code>,
then build ingest again. The API is at <code>/api/v1</code>.</p>
";

fn main() -> std::io::Result<()> {
    let dist = Path::new("web/dist");
    let index = dist.join("index.html");
    if !index.exists() {
        std::fs::create_dir_all(dist)?;
        std::fs::write(&index, PLACEHOLDER)?;
    }
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=web/dist")?;
    Ok(())
}
