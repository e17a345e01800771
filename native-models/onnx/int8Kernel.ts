const CODE_MAX = 127
/** Added to a small number, it leaves it rounded in the lowest bits. */
const ROUNDING = 1.5 * 2 ** 52
const SIXTEEN = Array.from({ length: 16 }, (_, i) => i)

/** The four values at $at + `offset` to whole numbers $c`i`: in double precision, so that ties are told from near ones. */
const roundFour = (i: number) => {
  const two = (values: string) =>
    `(f64x2.add (f64x2.splat (f64.const ${ROUNDING})) (f64x2.mul (local.get $inverse) (f64x2.promote_low_f32x4 ${values})))`
  return `
      (local.set $v (v128.load (i32.add (local.get $at) (i32.const ${16 * i}))))
      (local.set $c${i} (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27
        ${two('(local.get $v)')}
        ${two('(i8x16.shuffle 8 9 10 11 12 13 14 15 8 9 10 11 12 13 14 15 (local.get $v) (local.get $v))')}))`
}

/** Rows of floats as int8 codes with a scale a row: the largest value becomes 127 or -127. */
export const ROUND_ROWS = `
(func (export "roundRows")
  (param $values i32)  ;; floats, row after row
  (param $codes i32)   ;; where codes go, a byte each
  (param $scales i32)  ;; where the rows' scales go
  (param $rows i32) (param $valueBytes i32)  ;; of a row; 64 or a multiple
  (result i32)         ;; 1: a value is not finite
  (local $at i32) (local $end i32) (local $peak i32)
  (local $v v128) (local $inverse v128) (local $c0 v128) (local $c1 v128) (local $c2 v128) (local $c3 v128)
  (loop $row
    (local.set $end (i32.add (local.get $values) (local.get $valueBytes)))
    (local.set $at (local.get $values))
    (local.set $c0 (i32x4.splat (i32.const 0)))
    (loop $range  ;; sizes are in the order of their bits, NaN and infinity last
      (local.set $c0 (i32x4.max_u (local.get $c0)
        (v128.and (v128.load (local.get $at)) (i32x4.splat (i32.const ${0x7fffffff})))))
      (br_if $range (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (local.set $c0 (i32x4.max_u (local.get $c0) (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $c0) (local.get $c0))))
    (local.set $c0 (i32x4.max_u (local.get $c0) (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $c0) (local.get $c0))))
    (local.set $peak (i32x4.extract_lane 0 (local.get $c0)))
    (if (i32.ge_u (local.get $peak) (i32.const ${0x7f800000})) (then (return (i32.const 1))))
    (f32.store (local.get $scales) (select
      (f32.div (f32.reinterpret_i32 (local.get $peak)) (f32.const ${CODE_MAX})) (f32.const 1) (local.get $peak)))
    (local.set $inverse (f64x2.splat (select
      (f64.div (f64.const ${CODE_MAX}) (f64.promote_f32 (f32.reinterpret_i32 (local.get $peak))))
      (f64.const 0) (local.get $peak))))
    (local.set $at (local.get $values))
    (loop $code
      ${[0, 1, 2, 3].map(roundFour).join('')}
      (v128.store (local.get $codes) (i8x16.narrow_i16x8_s
        (i16x8.narrow_i32x4_s (local.get $c0) (local.get $c1)) (i16x8.narrow_i32x4_s (local.get $c2) (local.get $c3))))
      (local.set $codes (i32.add (local.get $codes) (i32.const 16)))
      (br_if $code (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 64))) (local.get $end))))
    (local.set $values (local.get $end))
    (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
    (br_if $row (local.tee $rows (i32.sub (local.get $rows) (i32.const 1)))))
  (i32.const 0))`

const half = (start: number) => SIXTEEN.map((i) => start + (i >> 1) + (i & 1 ? 16 : 0)).join(' ')

/** Byte by byte, vectors i and i + 8 in turn: four times over, sixteen vectors are transposed. */
const interleave = (from: string, to: string) =>
  SIXTEEN.map((i) => {
    const pair = `(local.get $${from}${i >> 1}) (local.get $${from}${(i >> 1) + 8})`
    return `(local.set $${to}${i} (i8x16.shuffle ${half(i & 1 ? 8 : 0)} ${pair}))`
  }).join('\n')

/**
 * Rows of bytes as bytes of each column, sixteen columns at a time, so that each row of the target is gone to but once: they
 * lie on as many pages.
 */
export const TRANSPOSE = `
(func (export "transpose")
  (param $from i32)     ;; the first row
  (param $stride i32)   ;; from row to row
  (param $rows i32) (param $columns i32)  ;; multiples of 16
  (param $places i32)   ;; int32 for each column: which of the target's rows it becomes
  (param $to i32)       ;; where the first row's bytes go in target row 0
  (param $rowBytes i32) ;; of a target row
  (local $end i32) (local $at i32) (local $row i32) (local $out i32)
  ${SIXTEEN.map((i) => `(local $a${i} v128) (local $b${i} v128)`).join(' ')}
  (local.set $end (i32.add (local.get $from) (local.get $columns)))
  (loop $column
    (local.set $at (local.get $from))
    (local.set $out (local.get $to))
    (local.set $row (local.get $rows))
    (loop $square
      ${SIXTEEN.map(
        (i) => `(local.set $a${i} (v128.load (local.get $at)))
      (local.set $at (i32.add (local.get $at) (local.get $stride)))`,
      ).join('\n')}
      ${interleave('a', 'b')}
      ${interleave('b', 'a')}
      ${interleave('a', 'b')}
      ${interleave('b', 'a')}
      ${SIXTEEN.map(
        (i) => `(v128.store (i32.add (local.get $out) (i32.mul (local.get $rowBytes)
        (i32.load (i32.add (local.get $places) (i32.const ${4 * i}))))) (local.get $a${i}))`,
      ).join('\n')}
      (local.set $out (i32.add (local.get $out) (i32.const 16)))
      (br_if $square (local.tee $row (i32.sub (local.get $row) (i32.const 16)))))
    (local.set $places (i32.add (local.get $places) (i32.const 64)))
    (br_if $column (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 16))) (local.get $end)))))`
