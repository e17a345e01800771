/** UTF-8 as SentencePiece decodes it: every byte that starts no valid sequence becomes one U+FFFD. */
export function decodeUtf8LikeSentencePiece(bytes: readonly number[]): string {
  let text = ''
  for (let at = 0; at < bytes.length; ) {
    const length = validSequenceLength(bytes, at)
    if (length === 0) {
      text += '\ufffd'
      at++
      continue
    }
    const lead = bytes[at]!
    let codePoint = length === 1 ? lead : lead & (0xff >> (length + 1))
    for (let i = 1; i < length; i++) codePoint = (codePoint << 6) | (bytes[at + i]! & 0x3f)
    text += String.fromCodePoint(codePoint)
    at += length
  }
  return text
}

/** Bytes of the valid sequence that starts at `at`, or 0. */
function validSequenceLength(bytes: readonly number[], at: number): number {
  const lead = bytes[at]!
  if (lead < 0x80) return 1
  const length = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0
  if (length === 0 || at + length > bytes.length) return 0
  for (let i = 1; i < length; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return 0
  const second = bytes[at + 1]!
  if (lead === 0xe0 && second < 0xa0) return 0 // overlong
  if (lead === 0xed && second >= 0xa0) return 0 // surrogates
  if (lead === 0xf0 && second < 0x90) return 0 // overlong
  if (lead === 0xf4 && second >= 0x90) return 0 // beyond U+10FFFF
  return length
}
