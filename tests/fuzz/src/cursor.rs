//! Bytes as choices: whatever is asked beyond the end is zero, so that every input means something.

use std::time::Duration;

pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor(bytes)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub(crate) fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// Small numbers cost one byte, all others are possible.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=239 => u64::from(small),
            power @ 240..=250 => 1 << (u32::from(power - 240) * 6),
            251 => u64::MAX,
            252 => u64::MAX - u64::from(self.byte()),
            _ => self.u64(),
        }
    }

    /// Of the orders of magnitude that matter, and of those that should not.
    pub(crate) fn duration(&mut self) -> Duration {
        match self.byte() {
            0 => Duration::ZERO,
            ms @ 1..=200 => Duration::from_millis(u64::from(ms) * 5),
            201..=220 => Duration::from_micros(u64::from(self.u16())),
            221..=230 => Duration::from_secs(u64::from(self.u16())),
            231..=240 => Duration::from_nanos(self.u64()),
            241..=250 => Duration::new(self.u64(), 999_999_999),
            _ => Duration::MAX,
        }
    }

    /// A text of up to `len` bytes.
    pub(crate) fn text(&mut self, len: usize) -> String {
        String::from_utf8_lossy(self.take(len)).into_owned()
    }
}
