//! What holds for everything that people are shown.

use serde_json::json;

use crate::{NARROW, PHONE, chromium::Chromium};

/// The text of each element with its contrast to what is behind it, by WCAG 2.1 (1.4.3).
const CONTRASTS: &str = r"
    const parse = (color) => color.match(/[\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = color.slice(0, 3).map((part) => {
            const c = part / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const color = parse(getComputedStyle(e).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
            if (color[3] > 0) throw new Error('half transparent');
        }
        throw new Error('nothing is behind ' + element.outerHTML);
    };
    const found = [];
    for (const element of document.body.querySelectorAll('*')) {
        const words = [...element.childNodes].filter((n) => n.nodeType === 3);
        const text = words.map((n) => n.textContent).join('').trim();
        if (!text && element.tagName !== 'svg') continue;
        const style = getComputedStyle(element);
        const color = parse(text ? style.color : style.stroke);
        const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
        found.push([text || 'svg', (a + 0.05) / (b + 0.05)]);
    }
    return found";

/// What no page of ours has: anything that runs, or that is loaded from elsewhere.
const ACTIVE: &str = r"
    const active = 'script, iframe, object, embed, img, link, base, audio, video';
    const found = [...document.querySelectorAll(active)].map((e) => e.outerHTML);
    for (const element of document.querySelectorAll('*'))
        for (const { name } of element.attributes) if (name.startsWith('on')) found.push(name);
    return found";

/// Rules of axe-core that a mail program keeps, around the mail.
const OF_THE_PROGRAM: [&str; 2] = ["landmark-one-main", "region"];

/// What axe-core finds wrong: the rules, each with the elements.
const FAULTS: &str = r"
    const [off, done] = arguments;
    const fault = ({ id, help, nodes }) => {
        const where = nodes.map((node) => `\n    ${node.html}\n    ${node.failureSummary}`);
        return `${id}: ${help}${where.join('')}`;
    };
    const rules = Object.fromEntries(off.map((id) => [id, { enabled: false }]));
    axe.run({ rules, resultTypes: ['violations'] }).then(
        ({ violations, passes }) => done([violations.map(fault), passes.length]),
        (error) => done([[String(error)], 0]),
    )";

/// What holds for every page, in this language.
pub(crate) async fn assert_is_for_everyone(chromium: &Chromium, lang: &str, context: &str) {
    assert_is_readable(chromium, lang, context).await;
    assert_axe_finds_nothing(chromium, &[], context).await;
}

/// What holds for every mail, in this language.
pub(crate) async fn assert_mail_is_for_everyone(chromium: &Chromium, lang: &str, context: &str) {
    assert_is_readable(chromium, lang, context).await;
    assert_axe_finds_nothing(chromium, &OF_THE_PROGRAM, context).await;
}

async fn assert_is_readable(chromium: &Chromium, lang: &str, context: &str) {
    assert_eq!(chromium.run("return document.documentElement.lang").await, lang, "{context}");
    assert_eq!(chromium.run("return document.querySelectorAll('h1').length").await, 1, "{context}");
    assert_eq!(chromium.run(ACTIVE).await, json!([]), "{context}");
    for pair in chromium.run(CONTRASTS).await.as_array().unwrap() {
        assert!(pair[1].as_f64().unwrap() >= 4.5, "{context}: too little contrast: {pair}");
    }
    for width in [NARROW, PHONE] {
        chromium.resize(width, 844).await;
        let used = chromium.run("return document.documentElement.scrollWidth").await;
        assert_eq!(used, width, "{context}: it scrolls sideways at {width}");
    }
}

/// Checks that since the last time nothing but `url` was asked for, and nothing complained of.
pub(crate) async fn assert_loads_nothing_else(chromium: &Chromium, url: &str, context: &str) {
    let requests = chromium.requests().await;
    assert_eq!(requests, [url], "{context}: something else was loaded");
    // An error status is the only thing that Chromium complains of.
    let console = chromium.console().await;
    let complaints = console.iter().filter(|line| !line.contains("responded with a status of 4"));
    assert_eq!(complaints.count(), 0, "{context}: {console:?}");
}

/// Has axe-core look at the page that `chromium` shows, without the rules that are `off`.
async fn assert_axe_finds_nothing(chromium: &Chromium, off: &[&str], context: &str) {
    chromium.run(&axe()).await;
    let result = chromium.client.execute_async(FAULTS, vec![json!(off)]).await.unwrap();
    let faults: Vec<_> =
        result[0].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    assert!(faults.is_empty(), "{context}: axe-core finds\n{}", faults.join("\n"));
    assert!(result[1].as_u64().unwrap() > 5, "{context}: axe-core has hardly looked: {result}");
}

/// The source of axe-core, which `tests/run` fetches.
fn axe() -> String {
    let fetched =
        concat!(env!("CARGO_TARGET_TMPDIR"), "/../browser/js/node_modules/axe-core/axe.min.js");
    let file = std::env::var_os("TEST_AXE").unwrap_or_else(|| fetched.into());
    std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!("axe-core is missing, `tests/run sqlite` fetches it: {}: {error}", file.display())
    })
}
