//! What a story told, beside what its file says.

use super::Told;

/// How many lines that differ are shown.
const LINES_MAX: usize = 40;
/// Beyond this many pairs of lines the best alignment is not looked for.
const PAIRS_MAX: usize = 4_000_000;

impl Told {
    /// The lines that differ from that text, with the line of it at which they do: `-` stands there, `+` was told now. At
    /// most forty; none if the texts are equal.
    #[must_use]
    pub fn difference(&self, text: &str) -> Vec<String> {
        diff(text, &self.text)
    }
}

fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[same..], &new[same..]);
    let ends = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old_rest[..old_rest.len() - ends], &new_rest[..new_rest.len() - ends]);
    let mut lines = aligned(a, b, same + 1);
    lines.truncate(LINES_MAX);
    lines
}

/// Removed and added lines in order, by the longest common subsequence of what begins at each pair of lines.
fn aligned(old: &[&str], new: &[&str], first: usize) -> Vec<String> {
    let width = if old.len().saturating_mul(new.len()) > PAIRS_MAX { 0 } else { new.len() + 1 };
    let mut common = vec![0_u32; width * (old.len() + 1)];
    for a in (0..old.len()).rev().filter(|_| width > 0) {
        for b in (0..new.len()).rev() {
            common[a * width + b] = if old[a] == new[b] {
                common[(a + 1) * width + b + 1] + 1
            } else {
                common[(a + 1) * width + b].max(common[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            (a, b) = (a + 1, b + 1);
        } else if b == new.len()
            || (a < old.len() && (width == 0 || common[(a + 1) * width + b] >= common[a * width + b + 1]))
        {
            lines.push(format!("{:>5} - {}", a + first, old[a]));
            a += 1;
        } else {
            lines.push(format!("{:>5} + {}", a + first, new[b]));
            b += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_with_its_line() {
        assert_eq!(diff("a\nb\nc\n", "a\nx\nc\nd\n"), ["    2 - b", "    3 + x", "    4 + d"]);
        assert_eq!(diff("a\nb\nc\nd\ne", "a\nc\nd\ny\ne"), ["    2 - b", "    5 + y"]);
        assert_eq!(diff("a\n", "a\n"), Vec::<String>::new());
        assert_eq!(diff("", "a\n"), ["    1 + a"]);
    }

    #[test]
    fn a_long_difference_is_cut_short() {
        let (old, new) = ("x\n".repeat(3000), "y\n".repeat(3000));
        assert_eq!(diff(&old, &new).len(), LINES_MAX);
    }
}
