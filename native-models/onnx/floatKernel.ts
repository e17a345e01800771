/** Stored numbers of 16 bits as floats, four at a time: `$count` of them, rounded up to a multiple of four. */
const expand = (name: string, four: string) => `
(func (export "${name}")
  (param $from i32) (param $to i32) (param $count i32)
  (local $end i32) (local $v v128)
  (local.set $end (i32.add (local.get $to) (i32.mul (local.get $count) (i32.const 4))))
  (loop $four
    ${four}
    (v128.store (local.get $to) (local.get $v))
    (local.set $from (i32.add (local.get $from) (i32.const 8)))
    (br_if $four (i32.lt_u (local.tee $to (i32.add (local.get $to) (i32.const 16))) (local.get $end)))))`

const lanes = (bits: number) => `(i32x4.splat (i32.const ${bits | 0}))`

/**
 * Exponent and fraction of a half float, moved to where a float has them, are the number times 2^-112, also of one that is
 * too small for an exponent. Infinity and NaN have all bits of the exponent set in both.
 */
const HALVES = expand(
  'halves',
  `(local.set $v (v128.and ${lanes(0x8fffe000)} (i32x4.shl (v128.load16x4_s (local.get $from)) (i32.const 13))))
    (local.set $v (v128.or
      (f32x4.mul (local.get $v) (f32x4.splat (f32.const ${2 ** 112})))
      (v128.and ${lanes(0x7f800000)}
        (i32x4.eq ${lanes(0x0f800000)} (v128.and (local.get $v) ${lanes(0x0f800000)})))))`,
)

/** A bfloat16 is the upper half of a float. */
const BFLOATS = expand('bfloats', '(local.set $v (i32x4.shl (v128.load16x4_u (local.get $from)) (i32.const 16)))')

/** Numbers of 16 bits as floats, exactly. */
export const EXPAND = HALVES + BFLOATS
