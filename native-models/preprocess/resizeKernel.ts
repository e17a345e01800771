import { assemble } from '../onnx/wat.ts'

/** Sums of pixels in 22-bit fixed point, half a step added, as bytes: 0 and 255 where they are beyond. */
const bytesOf = (...sums: string[]) => {
  const [a, b, c, d] = sums.map((sum) => `(i32x4.shr_s (local.get ${sum}) (i32.const 22))`)
  return `(i8x16.narrow_i16x8_u (i16x8.narrow_i32x4_s ${a} ${b}) (i16x8.narrow_i32x4_s ${c} ${d}))`
}

const HALF = '(i32x4.splat (i32.const 2097152))'

/** One row of RGB pixels narrower or wider: three channels of a pixel at a time (and a fourth number that is written over). */
const ROW = `
(func (export "run")
  (param $in i32) (param $out i32)
  (param $starts i32)   ;; of each output pixel: bytes before its first input pixel
  (param $counts i32)   ;; and bytes of its weights
  (param $weights i32) (param $stride i32)  ;; bytes from the weights of one output pixel to those of the next
  (param $pixels i32)
  (local $at i32) (local $k i32) (local $end i32) (local $sum v128)
  (loop $pixel
    (local.set $at (i32.add (local.get $in) (i32.load (local.get $starts))))
    (local.set $k (local.get $weights))
    (local.set $end (i32.add (local.get $k) (i32.load (local.get $counts))))
    (local.set $sum ${HALF})
    (loop $tap
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.mul
        (i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero (local.get $at))))
        (v128.load32_splat (local.get $k)))))
      (local.set $at (i32.add (local.get $at) (i32.const 3)))
      (br_if $tap (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 4))) (local.get $end))))
    (v128.store32_lane 0 (local.get $out) ${bytesOf('$sum', '$sum', '$sum', '$sum')})
    (local.set $out (i32.add (local.get $out) (i32.const 3)))
    (local.set $starts (i32.add (local.get $starts) (i32.const 4)))
    (local.set $counts (i32.add (local.get $counts) (i32.const 4)))
    (local.set $weights (i32.add (local.get $weights) (local.get $stride)))
    (br_if $pixel (local.tee $pixels (i32.sub (local.get $pixels) (i32.const 1))))))`

/** One row out of several that lie behind each other: sixteen bytes at a time. */
const COLUMN = `
(func (export "run")
  (param $in i32) (param $out i32) (param $bytes i32)  ;; of a row
  (param $weights i32) (param $weightsEnd i32)
  (local $at i32) (local $k i32) (local $end i32)
  (local $v v128) (local $w v128) (local $s0 v128) (local $s1 v128) (local $s2 v128) (local $s3 v128)
  (local.set $end (i32.add (local.get $in) (local.get $bytes)))
  (loop $sixteen
    (local.set $at (local.get $in))
    (local.set $k (local.get $weights))
    ${[0, 1, 2, 3].map((i) => `(local.set $s${i} ${HALF})`).join('\n')}
    (loop $tap
      (local.set $w (v128.load32_splat (local.get $k)))
      ${['low', 'high']
        .map(
          (half, i) => `
      (local.set $v (i16x8.extend_${half}_i8x16_u (v128.load (local.get $at))))
      ${['low', 'high']
        .map(
          (part, j) => `
      (local.set $s${2 * i + j} (i32x4.add (local.get $s${2 * i + j})
        (i32x4.mul (i32x4.extend_${part}_i16x8_u (local.get $v)) (local.get $w))))`,
        )
        .join('')}`,
        )
        .join('')}
      (local.set $at (i32.add (local.get $at) (local.get $bytes)))
      (br_if $tap (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 4))) (local.get $weightsEnd))))
    (v128.store (local.get $out) ${bytesOf('$s0', '$s1', '$s2', '$s3')})
    (local.set $out (i32.add (local.get $out) (i32.const 16)))
    (br_if $sixteen (i32.lt_u (local.tee $in (i32.add (local.get $in) (i32.const 16))) (local.get $end)))))`

/** What of it we use; the type libraries have it only together with the browser's. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: unknown }
}

interface Kernel {
  memory: { buffer: ArrayBuffer }
  run(...parameters: number[]): void
}

const PAGE_BYTES = 1 << 16
const kernels = new Map<string, { kernel: Kernel; pages: number }>()

/** A kernel with so many bytes of memory at least; one with too few is made anew. */
export function resizeKernel(name: 'row' | 'column', bytes: number): Kernel {
  const known = kernels.get(name)
  if (known && known.pages * PAGE_BYTES >= bytes) return known.kernel
  const pages = Math.max(16, Math.ceil(bytes / PAGE_BYTES))
  const module = new WebAssembly.Module(assemble(name === 'row' ? ROW : COLUMN, pages))
  const kernel = new WebAssembly.Instance(module).exports as Kernel
  kernels.set(name, { kernel, pages })
  return kernel
}
