/** Adds up the four lanes of a vector. */
const laneSum = (vector: string) =>
  [0, 1, 2, 3]
    .map((lane) => `(f32x4.extract_lane ${lane} (local.get ${vector}))`)
    .reduce((sum, lane) => `(f32.add ${sum} ${lane})`)

const splat = (scalar: string) => `(f32x4.splat ${scalar})`
const choose = (which: string, yes: string, no: string) => `(v128.bitselect ${yes} ${no} ${which})`

/** The smallest or largest of the four lanes, in all of them. */
const spread = (which: 'pmin' | 'pmax', vector: string) =>
  ['8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7', '4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11']
    .map((order) => `(i8x16.shuffle ${order} (local.get ${vector}) (local.get ${vector}))`)
    .map((moved) => `(local.set ${vector} (f32x4.${which} (local.get ${vector}) ${moved}))`)
    .join('\n')

const scaled = (factor: string) => `(f32x4.mul (local.get $v) (local.get ${factor}))`
const notAbove = (codes: string) => `(f32x4.pmin (local.get $highs) ${codes})`
const notBelow = (codes: string) => `(f32x4.pmax (local.get $lows) ${codes})`

/** What keeps the codes of a range within their bits: its largest value is the smallest code, or -(low + 1), or out of them. */
const RANGES = [
  { above: 1, clamp: (codes: string) => codes },
  { above: 0, clamp: notAbove },
  { above: -1, clamp: (codes: string) => notAbove(notBelow(codes)) },
]
type Range = (typeof RANGES)[number]

/**
 * Rounds all values of the block over some ranges at once, since sums of one would wait for each other, and takes the one
 * whose codes hold most of the sum of squares, with the scale that fits them best. What is taken cannot be foretold, so it is
 * chosen without a branch.
 */
const tryRanges = (ranges: readonly Range[]) => {
  const each = (text: (i: number, range: Range) => string) => ranges.map((range, i) => text(i, range)).join('\n')
  return `
      ${each(
        (i, { above }) => `
      (local.set $factor${i}
        (f32x4.div (f32x4.add (local.get $lows) ${splat(`(f32.const ${above})`)}) (local.get $peak)))
      (local.set $products${i} ${splat('(f32.const 0)')})
      (local.set $squares${i} (local.get $products${i}))`,
      )}
      (local.set $at (local.get $values))
      (loop $sum
        (local.set $v (v128.load (local.get $at)))
        ${each(
          (i, { clamp }) => `
        (local.set $q ${clamp(`(f32x4.nearest ${scaled(`$factor${i}`)})`)})
        (local.set $products${i} (f32x4.add (local.get $products${i}) (f32x4.mul (local.get $q) (local.get $v))))
        (local.set $squares${i} (f32x4.add (local.get $squares${i}) (f32x4.mul (local.get $q) (local.get $q))))`,
        )}
        (br_if $sum (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
      (local.set $share ${splat('(f32.const -1)')})
      ${each(
        (i) => `
      (local.set $product ${laneSum(`$products${i}`)})
      (local.set $square ${laneSum(`$squares${i}`)})
      (local.set $fit (f32.div (local.get $product) (local.get $square)))
      (local.set $most ${splat('(f32.mul (local.get $product) (local.get $fit))')})
      (local.set $taken (f32x4.gt (local.get $most) (local.get $share)))
      (local.set $share ${choose('(local.get $taken)', '(local.get $most)', '(local.get $share)')})
      (local.set $scale ${choose('(local.get $taken)', splat('(local.get $fit)'), '(local.get $scale)')})
      (local.set $best ${choose('(local.get $taken)', `(local.get $factor${i})`, '(local.get $best)')})
      ;; infinity and NaN are no finite distance from themselves
      (local.set $bad (v128.or (local.get $bad) (f32x4.ne ${splat('(f32.const 0)')}
        ${splat('(f32.sub (local.get $product) (local.get $product))')})))`,
      )}`
}

const SMALLEST_PEAK = 1e-36

/** Added to a number of a few bits, it leaves it rounded, and 128 or 8 more, in the lowest byte. */
const ROUNDING = 1.5 * 2 ** 23

/** Four values as codes, a byte in each lane. */
const codesAt = (offset: number) => `
        (local.set $v (v128.load (i32.add (local.get $at) (i32.const ${offset}))))
        (local.set $c${offset / 16} (f32x4.add (local.get $rounding) ${notAbove(notBelow(scaled('$best')))}))`

/** The lowest byte of each lane of two vectors. */
const LOW_BYTES = '0 4 8 12 16 20 24 28'

/**
 * Rounding to blocks (see quantize.ts), four values at a time: plain JavaScript takes twenty times as long. WebAssembly text,
 * because a function of one loop needs no compiler and runs on every processor.
 */
export const QUANTIZE = `
(func (export "quantize")
  (param $values i32)  ;; floats, block after block
  (param $codes i32)   ;; where codes go, a byte or half a byte each
  (param $scales i32)  ;; where the blocks' scales go
  (param $blocks i32)
  (param $valueBytes i32) (param $codeBytes i32)  ;; of a block; 64 or a multiple, and 8
  (param $low f32)     ;; smallest code, -2^(bits-1)
  (param $try i32)     ;; 1: the best of the ranges low + 1, low, low - 1; 0 takes low
  (result i32)         ;; 1: a value is not finite
  (local $at i32) (local $end i32) (local $to i32)
  (local $product f32) (local $square f32) (local $fit f32)
  (local $peak v128) (local $scale v128) (local $share v128) (local $most v128) (local $taken v128) (local $bad v128)
  ${RANGES.map((_, i) => `(local $factor${i} v128) (local $products${i} v128) (local $squares${i} v128)`).join('\n')}
  (local $v v128) (local $q v128) (local $lows v128) (local $highs v128) (local $best v128) (local $rounding v128)
  (local $c0 v128) (local $c1 v128) (local $c2 v128) (local $c3 v128)
  (local.set $lows (f32x4.splat (local.get $low)))
  (local.set $highs (f32x4.splat (f32.sub (f32.neg (local.get $low)) (f32.const 1))))
  (local.set $rounding (f32x4.splat (f32.sub (f32.const ${ROUNDING}) (local.get $low))))
  (loop $block
    (local.set $end (i32.add (local.get $values) (local.get $valueBytes)))

    ;; the value furthest from zero, with its sign
    (local.set $at (local.get $values))
    (local.set $c0 (v128.load (local.get $at)))
    (local.set $c1 (local.get $c0))
    (loop $range
      (local.set $v (v128.load (local.get $at)))
      (local.set $c0 (f32x4.pmin (local.get $c0) (local.get $v)))
      (local.set $c1 (f32x4.pmax (local.get $c1) (local.get $v)))
      (br_if $range (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    ${spread('pmin', '$c0')}
    ${spread('pmax', '$c1')}
    (local.set $c2 (f32x4.neg (local.get $c0)))
    (local.set $peak ${choose('(f32x4.gt (local.get $c1) (local.get $c2))', '(local.get $c1)', '(local.get $c0)')})
    ;; of zeros, and of what no factor would reach, all codes are 0
    (local.set $peak ${choose(
      `(f32x4.gt ${splat(`(f32.const ${SMALLEST_PEAK})`)} (f32x4.pmax (local.get $c1) (local.get $c2)))`,
      splat('(f32.const 1)'),
      '(local.get $peak)',
    )})

    (local.set $scale ${splat('(f32.const 0)')})
    (local.set $best (local.get $scale))
    (if (local.get $try) (then ${tryRanges(RANGES)}))
    (if (i32.lt_u (local.get $try) (i32.const 1)) (then ${tryRanges(RANGES.slice(1, 2))}))
    (f32.store (local.get $scales) (f32x4.extract_lane 0 (local.get $scale)))

    (local.set $at (local.get $values))
    (local.set $to (local.get $codes))
    (loop $write
      ${[0, 16, 32, 48].map(codesAt).join('')}
      (local.set $q (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23
        (i8x16.shuffle ${LOW_BYTES} ${LOW_BYTES} (local.get $c0) (local.get $c1))
        (i8x16.shuffle ${LOW_BYTES} ${LOW_BYTES} (local.get $c2) (local.get $c3))))
      (if (f32.ne (local.get $low) (f32.const -8)) (then
        (v128.store (local.get $to) (local.get $q))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))))
      (if (f32.eq (local.get $low) (f32.const -8)) (then  ;; two neighbours into one byte
        (local.set $q (v128.and (i16x8.splat (i32.const 255))
          (v128.or (local.get $q) (i16x8.shr_u (local.get $q) (i32.const 4)))))
        (v128.store64_lane 0 (local.get $to) (i8x16.narrow_i16x8_u (local.get $q) (local.get $q)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))))
      (br_if $write (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 64))) (local.get $end))))

    (local.set $values (local.get $end))
    (local.set $codes (i32.add (local.get $codes) (local.get $codeBytes)))
    (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
    (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))
  (v128.any_true (local.get $bad)))`
