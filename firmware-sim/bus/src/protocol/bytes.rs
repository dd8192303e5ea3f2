//! Writing and reading the fields of a message. All numbers are big-endian.

use super::{MAX_TEXT_BYTES, ProtocolError};

/// Appends one frame; the length is filled in by [`Frame::finish`].
pub(super) struct Frame<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Frame<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(kind);
        Self { out, start }
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.out.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// A length byte and the text, cut at a character boundary when it is too long.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let mut cut = text.len().min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let text = text.get(..cut).unwrap_or_default();
        self.u8(u8::try_from(text.len()).unwrap_or(u8::MAX))
            .bytes(text.as_bytes())
    }

    pub(super) fn finish(self) {
        let length = self.out.len() - self.start - 4;
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = self.out.get_mut(self.start..self.start + 4) {
            field.copy_from_slice(&length);
        }
    }
}

/// Takes fields off the front of a message.
pub(super) struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Result<Self, ProtocolError> {
        let (&kind, rest) = message
            .split_first()
            .ok_or(ProtocolError::Short { kind: 0 })?;
        Ok(Self { kind, rest })
    }

    pub(super) fn kind(&self) -> u8 {
        self.kind
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(ProtocolError::Short { kind: self.kind })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let short = ProtocolError::Short { kind: self.kind };
        self.take(N)?.try_into().map_err(|_| short)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, ProtocolError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn text(&mut self) -> Result<String, ProtocolError> {
        let length = self.u8()?;
        let bytes = self.take(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.bad("text"))
    }

    /// The error for a field that holds something else than allowed.
    pub(super) fn bad(&self, field: &'static str) -> ProtocolError {
        ProtocolError::Field {
            kind: self.kind,
            field,
        }
    }

    pub(super) fn end(&self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::Long {
                kind: self.kind,
                extra: self.rest.len(),
            })
        }
    }
}
