use super::*;

#[test]
fn times_have_two_units() {
    let check = |seconds: f64, expected: &str| assert_eq!(time(seconds), expected);
    check(0.4, "0s");
    check(59.9, "59s");
    check(60.0, "1m");
    check(3_661.0, "1h 1m");
    check(90_061.0, "1d 1h");
    check(86_405.0, "1d");
    check(f64::NAN, "0s");
}

#[test]
fn json_keeps_its_value_and_steers_no_terminal() {
    let value = serde_json::json!({ "a\u{9b}": ["\u{202e}x\u{7f}", "\n", "é\u{1f600}"] });
    for form in [Form::Pretty, Form::Line] {
        let mut out = Vec::new();
        json(&mut out, &value, form).expect("a vector takes everything");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(!text.chars().any(|c| steers(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }
}

#[test]
fn a_writer_to_the_terminal_lets_lines_through_and_nothing_that_steers() {
    let text = "é\u{9b}31m\tred\u{202e}\n\u{1b}[2J\u{200f}.\n";
    // However it is cut into pieces.
    for size in 1..=text.len() {
        let mut out = Vec::new();
        let mut writer = Visible::new(&mut out);
        for piece in text.as_bytes().chunks(size) {
            writer.write_all(piece).expect("a vector takes everything");
        }
        let shown = String::from_utf8(out).expect("UTF-8");
        assert_eq!(shown, "é\u{fffd}31m\tred\u{fffd}\n\u{fffd}[2J\u{fffd}.\n");
    }
}

#[test]
fn a_table_fits_its_width_and_keeps_what_must_be_whole() {
    let mut out = Vec::new();
    let rows = [["01BX5ZZKBKACTAV9WEVGEMMVRZ", "a-long-name-of-a-route", "b"]];
    let rows = rows.map(|row| row.map(str::to_owned).to_vec());
    fitted(&mut out, &["ID", "ROUTE", "B"], rows, &[0], Some(42)).expect("a vector");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(
        text.lines().all(|line| line.chars().count() <= 42),
        "{text}"
    );
    assert!(
        text.contains("01BX5ZZKBKACTAV9WEVGEMMVRZ  a-long-nam…"),
        "{text}"
    );
    // Too narrow for anything: nothing is lost but the width.
    let mut widths = [26, 8, 8];
    narrow(&mut widths, &[0], 10);
    assert_eq!(widths, [26, 8, 8]);
}

#[test]
fn colours_are_the_programs_own_and_never_a_texts() {
    let mut out = Vec::new();
    let mut painted = Visible::painted(&mut out);
    for part in ["WARN", "  b1 \u{1b}[31mred unhe", "althy\nsure? [y/N] "] {
        painted.write_all(part.as_bytes()).expect("a vector");
    }
    painted.flush().expect("a vector");
    let text = String::from_utf8(out).expect("UTF-8");
    let expected = "\u{1b}[33mWARN\u{1b}[0m  b1 \u{fffd}[31mred \u{1b}[31munhealthy\u{1b}[0m\n\
                        sure? [y/N] ";
    assert_eq!(text, expected);
}

#[test]
fn columns_are_straight_and_cells_cannot_steer_the_terminal() {
    let mut out = Vec::new();
    let rows = [["a", "\u{1b}[31mred"], ["long", "é"]];
    let rows = rows.map(|row| row.map(str::to_owned).to_vec());
    columns(&mut out, &["ONE", "TWO"], rows).expect("a vector takes everything");
    let text = String::from_utf8(out).expect("UTF-8");
    assert_eq!(text, "ONE   TWO\na     \u{fffd}[31mred\nlong  é\n");
}
