/** Adds up the four lanes of a vector. */
const laneSum = (vector: string) =>
  [0, 1, 2, 3]
    .map((lane) => `(f32x4.extract_lane ${lane} (local.get ${vector}))`)
    .reduce((sum, lane) => `(f32.add ${sum} ${lane})`)

/** The smallest or largest of the four lanes. */
const laneExtreme = (which: 'min' | 'max', vector: string) =>
  [0, 1, 2, 3]
    .map((lane) => `(f32x4.extract_lane ${lane} (local.get ${vector}))`)
    .reduce((extreme, lane) => `(f32.${which} ${extreme} ${lane})`)

const loadFour = (offset = 0) => `(local.set $v (v128.load (i32.add (local.get $at) (i32.const ${offset}))))`

/** Rounds the four values $v by factor `i` to $q, and takes them into its sums. */
const roundFour = (i = 0) => `
  (local.set $q (f32x4.pmin (local.get $highs) (f32x4.pmax (local.get $lows)
    (f32x4.nearest (f32x4.mul (local.get $v) (local.get $factor${i}))))))
  (local.set $products${i} (f32x4.add (local.get $products${i}) (f32x4.mul (local.get $q) (local.get $v))))
  (local.set $squares${i} (f32x4.add (local.get $squares${i}) (f32x4.mul (local.get $q) (local.get $q))))`

const clearSums = (i = 0) => `
  (local.set $products${i} (f32x4.splat (f32.const 0)))
  (local.set $squares${i} (local.get $products${i}))`

/** Ranges that are tried at once: sums of one would wait for each other. */
const RANGES = [0, 1, 2]
const forRanges = (text: (i: number) => string) => RANGES.map(text).join('\n')

/**
 * Rounding to blocks (see quantize.ts), four values at a time: plain JavaScript takes ten times as long, minutes for seven
 * billion weights. WebAssembly text, because a function of one loop needs no compiler and runs on every processor.
 */
export const QUANTIZE = `
(func (export "quantize")
  (param $values i32)  ;; floats, block after block
  (param $codes i32)   ;; where codes go, a byte or half a byte each
  (param $scales i32)  ;; where the blocks' scales go
  (param $blocks i32)
  (param $valueBytes i32) (param $codeBytes i32)  ;; of a block; 64 or a multiple, and 8
  (param $low f32)     ;; smallest code, -2^(bits-1)
  (param $try i32)     ;; 1: the best of the ranges low + 1, low, low - 1; 0 takes low without a trial
  (result i32)         ;; 1: a value is not finite
  (local $at i32) (local $end i32) (local $to i32)
  (local $min f32) (local $max f32) (local $peak f32) (local $best f32) (local $share f32) (local $most f32)
  ${forRanges((i) => `(local $inverse${i} f32) (local $factor${i} v128) (local $products${i} v128) (local $squares${i} v128)`)}
  (local $v v128) (local $q v128) (local $lows v128) (local $highs v128)
  (local $c0 v128) (local $c1 v128) (local $c2 v128) (local $c3 v128)
  (local.set $lows (f32x4.splat (local.get $low)))
  (local.set $highs (f32x4.splat (f32.sub (f32.neg (local.get $low)) (f32.const 1))))
  (loop $block
    (local.set $end (i32.add (local.get $values) (local.get $valueBytes)))

    ;; the value furthest from zero, with its sign; NaN is passed over here, and found in the sums
    (local.set $at (local.get $values))
    (local.set $c0 (v128.load (local.get $at)))
    (local.set $c1 (local.get $c0))
    (loop $range
      ${loadFour()}
      (local.set $c0 (f32x4.pmin (local.get $c0) (local.get $v)))
      (local.set $c1 (f32x4.pmax (local.get $c1) (local.get $v)))
      (br_if $range (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
    (local.set $min ${laneExtreme('min', '$c0')})
    (local.set $max ${laneExtreme('max', '$c1')})
    ;; infinity and NaN are no finite distance from themselves
    (if (f32.ne (f32.const 0) (f32.sub (local.get $min) (local.get $min))) (then (return (i32.const 1))))
    (if (f32.ne (f32.const 0) (f32.sub (local.get $max) (local.get $max))) (then (return (i32.const 1))))
    (local.set $peak (select
      (local.get $max) (local.get $min) (f32.gt (local.get $max) (f32.neg (local.get $min)))))

    (local.set $best (f32.const 0))
    (if (f32.ne (local.get $peak) (f32.const 0)) (then
      (local.set $best (f32.div (local.get $low) (local.get $peak)))
      (local.set $share (f32.const -1))
      (if (local.get $try) (then
        ${forRanges(
          (i) => `
        (local.set $inverse${i} (f32.div (f32.add (local.get $low) (f32.const ${1 - i})) (local.get $peak)))
        (local.set $factor${i} (f32x4.splat (local.get $inverse${i})))
        ${clearSums(i)}`,
        )}
        (local.set $at (local.get $values))
        (loop $sum
          ${loadFour()}
          ${forRanges(roundFour)}
          (br_if $sum (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 16))) (local.get $end))))
        ;; of the sum of squares, what the codes hold with the scale that fits them best
        ${forRanges(
          (i) => `
        (local.set $most ${laneSum(`$products${i}`)})
        (local.set $most (f32.mul (local.get $most) (f32.div (local.get $most) ${laneSum(`$squares${i}`)})))
        (if (f32.gt (local.get $most) (local.get $share)) (then
          (local.set $share (local.get $most))
          (local.set $best (local.get $inverse${i}))))`,
        )}))))

    (local.set $factor0 (f32x4.splat (local.get $best)))
    ${clearSums()}
    (local.set $at (local.get $values))
    (local.set $to (local.get $codes))
    (loop $write
      ${[0, 1, 2, 3]
        .map(
          (i) => `${loadFour(16 * i)} ${roundFour()} (local.set $c${i} (f32x4.sub (local.get $q) (local.get $lows)))`,
        )
        .join('\n')}
      (local.set $q (i8x16.narrow_i16x8_u
        (i16x8.narrow_i32x4_s (i32x4.trunc_sat_f32x4_s (local.get $c0)) (i32x4.trunc_sat_f32x4_s (local.get $c1)))
        (i16x8.narrow_i32x4_s (i32x4.trunc_sat_f32x4_s (local.get $c2)) (i32x4.trunc_sat_f32x4_s (local.get $c3)))))
      (if (f32.ne (local.get $low) (f32.const -8)) (then
        (v128.store (local.get $to) (local.get $q))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))))
      (if (f32.eq (local.get $low) (f32.const -8)) (then  ;; two neighbours into one byte
        (local.set $q (v128.and (i16x8.splat (i32.const 255))
          (v128.or (local.get $q) (i16x8.shr_u (local.get $q) (i32.const 4)))))
        (v128.store64_lane 0 (local.get $to) (i8x16.narrow_i16x8_u (local.get $q) (local.get $q)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))))
      (br_if $write (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 64))) (local.get $end))))
    (local.set $share ${laneSum('$products0')})
    (if (f32.ne (f32.const 0) (f32.sub (local.get $share) (local.get $share))) (then (return (i32.const 1))))
    (local.set $most ${laneSum('$squares0')})
    (f32.store (local.get $scales) (select
      (f32.div (local.get $share) (local.get $most)) (f32.const 0) (f32.ne (local.get $most) (f32.const 0))))

    (local.set $values (local.get $end))
    (local.set $codes (i32.add (local.get $codes) (local.get $codeBytes)))
    (local.set $scales (i32.add (local.get $scales) (i32.const 4)))
    (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))
  (i32.const 0))`
