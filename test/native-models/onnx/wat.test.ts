import { describe, expect, it } from 'vitest'
import { assemble } from '../../../native-models/onnx/wat.ts'

/** The types of WebAssembly come with the browser's library only. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: unknown }
}

const run = (source: string) => {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble(source, 1)))
  return exports as { f: (...values: number[]) => number }
}

describe('assemble', () => {
  it('loops, branches, constants of every length', () => {
    const { f } = run(`
      (func (export "f") (param $n i32) (result i32) (local $sum i32) ;; n * 300 - 1, for n from 1 on
        (loop $next
          (local.set $sum (i32.add (local.get $sum) (i32.const 300)))
          (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (block $done
          (br_if $done (i32.lt_u (local.get $sum) (i32.const 1)))
          (local.set $sum (i32.add (local.get $sum) (i32.const -1))))
        (local.get $sum))`)
    expect([1, 2, 100].map((n) => f(n))).toEqual([299, 599, 29_999])
  })

  it('if, return, floats, vectors', () => {
    const { f } = run(`
      (func (export "f") (param $x f32) (result f32)
        (if (f32.gt (local.get $x) (f32.const 10)) (then (return (f32.const -0.5))))
        (f32x4.extract_lane 2 (f32x4.mul (f32x4.splat (local.get $x)) (f32x4.splat (f32.const 1.5)))))`)
    expect([f(11), f(4)]).toEqual([-0.5, 6])
  })

  it.each([
    ['(func (export "f") (i64.clz (i32.const 1)))', 'no instruction i64.clz'],
    ['(func (export "f") (local.set $x (i32.const 1)))', 'no local $x'],
    ['(func (export "f") (br $x))', 'no label $x'],
    ['(func (export "f") (param $x i64))', 'no type i64'],
    ['(func (export "f")', 'a ) is missing'],
    ['(func))', 'one ) too many'],
    ['(module)', 'expected (func ...)'],
  ])('refuses %s', (source, message) => {
    expect(() => assemble(source, 1)).toThrow(message)
  })
})
