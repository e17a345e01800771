/**
 * Assembles WebAssembly text: the folded instructions, types and vector operations that our kernels use, nothing else.
 * Numbers of sections and opcodes are those of the WebAssembly 2.0 specification.
 */

type Expression = string | Expression[]

const TYPES: Record<string, number> = { i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b }
const NO_RESULT = 0x40
const END = 0x0b
const VECTOR = 0xfd

/** Instructions that take their operands from the stack and nothing else. */
const PLAIN: Record<string, readonly number[]> = {
  return: [0x0f],
  select: [0x1b],
  'i32.lt_u': [0x49],
  'i32.ge_u': [0x4f],
  'f32.eq': [0x5b],
  'f32.ne': [0x5c],
  'f32.gt': [0x5e],
  'i32.add': [0x6a],
  'i32.sub': [0x6b],
  'i32.mul': [0x6c],
  'f32.neg': [0x8c],
  'f32.add': [0x92],
  'f32.sub': [0x93],
  'f32.mul': [0x94],
  'f32.div': [0x95],
  'f32.min': [0x96],
  'f32.max': [0x97],
  'f64.div': [0xa3],
  'f64.promote_f32': [0xbb],
  'f32.reinterpret_i32': [0xbe],
  'i32x4.splat': [VECTOR, 0x11],
  'f32x4.splat': [VECTOR, 0x13],
  'f64x2.splat': [VECTOR, 0x14],
  'i32x4.eq': [VECTOR, 0x37],
  'f32x4.ne': [VECTOR, 0x42],
  'f32x4.gt': [VECTOR, 0x44],
  'v128.and': [VECTOR, 0x4e],
  'v128.or': [VECTOR, 0x50],
  'v128.bitselect': [VECTOR, 0x52],
  'v128.any_true': [VECTOR, 0x53],
  'f64x2.promote_low_f32x4': [VECTOR, 0x5f],
  'i8x16.narrow_i16x8_s': [VECTOR, 0x65],
  'i8x16.narrow_i16x8_u': [VECTOR, 0x66],
  'f32x4.nearest': [VECTOR, 0x6a],
  'i16x8.splat': [VECTOR, 0x10],
  'i16x8.narrow_i32x4_s': [VECTOR, 0x85, 0x01],
  'i16x8.extend_low_i8x16_u': [VECTOR, 0x89, 0x01],
  'i16x8.extend_high_i8x16_u': [VECTOR, 0x8a, 0x01],
  'i16x8.shr_u': [VECTOR, 0x8d, 0x01],
  'i32x4.extend_low_i16x8_u': [VECTOR, 0xa9, 0x01],
  'i32x4.extend_high_i16x8_u': [VECTOR, 0xaa, 0x01],
  'i32x4.shl': [VECTOR, 0xab, 0x01],
  'i32x4.shr_s': [VECTOR, 0xac, 0x01],
  'i32x4.add': [VECTOR, 0xae, 0x01],
  'i32x4.mul': [VECTOR, 0xb5, 0x01],
  'i32x4.max_u': [VECTOR, 0xb9, 0x01],
  'f32x4.neg': [VECTOR, 0xe1, 0x01],
  'f32x4.add': [VECTOR, 0xe4, 0x01],
  'f32x4.sub': [VECTOR, 0xe5, 0x01],
  'f32x4.mul': [VECTOR, 0xe6, 0x01],
  'f32x4.div': [VECTOR, 0xe7, 0x01],
  'f32x4.min': [VECTOR, 0xe8, 0x01],
  'f32x4.max': [VECTOR, 0xe9, 0x01],
  'f32x4.pmin': [VECTOR, 0xea, 0x01],
  'f32x4.pmax': [VECTOR, 0xeb, 0x01],
  'f64x2.add': [VECTOR, 0xf0, 0x01],
  'f64x2.mul': [VECTOR, 0xf2, 0x01],
  'i32x4.trunc_sat_f32x4_s': [VECTOR, 0xf8, 0x01],
}
/** Instructions with a memory address: opcode, then log2 of the alignment. */
const MEMORY: Record<string, readonly [readonly number[], number]> = {
  'i32.load': [[0x28], 2],
  'f32.load': [[0x2a], 2],
  'f32.store': [[0x38], 2],
  'v128.load': [[VECTOR, 0x00], 2],
  'v128.load16x4_s': [[VECTOR, 0x03], 0],
  'v128.load16x4_u': [[VECTOR, 0x04], 0],
  'v128.load32_splat': [[VECTOR, 0x09], 2],
  'v128.load32_zero': [[VECTOR, 0x5c], 0],
  'v128.store': [[VECTOR, 0x0b], 2],
  'v128.store32_lane': [[VECTOR, 0x5a], 0],
  'v128.store64_lane': [[VECTOR, 0x5b], 2],
}
/** Instructions with the numbers of lanes as their last immediates: one, or of a shuffle 16. */
const LANES: Record<string, readonly number[]> = {
  'i8x16.shuffle': [VECTOR, 0x0d],
  'i32x4.extract_lane': [VECTOR, 0x1b],
  'f32x4.extract_lane': [VECTOR, 0x1f],
  'v128.store32_lane': [],
  'v128.store64_lane': [],
}
const LOCALS: Record<string, number> = { 'local.get': 0x20, 'local.set': 0x21, 'local.tee': 0x22 }
const BRANCHES: Record<string, number> = { br: 0x0c, br_if: 0x0d }
const BLOCKS: Record<string, number> = { block: 0x02, loop: 0x03 }

/**
 * The module of functions `(func (export "name") (param $x i32) ... (result i32) (local $y f32) ... instructions)` and a
 * memory of so many pages, exported as `memory`.
 * @throws SyntaxError for anything else
 */
export function assemble(source: string, memoryPages: number): Uint8Array<ArrayBuffer> {
  const functions = parse(source).map(assembleFunction)
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(functions.map(({ type }) => type))),
    ...section(3, vector(functions.map((_, index) => unsigned(index)))),
    ...section(5, vector([[0, ...unsigned(memoryPages)]])),
    ...section(
      7,
      vector([
        [...text('memory'), 2, 0],
        ...functions.map(({ exportName }, index) => [...text(exportName), 0, ...unsigned(index)]),
      ]),
    ),
    ...section(10, vector(functions.map(({ code }) => [...unsigned(code.length), ...code]))),
  ])
}

function assembleFunction(expression: Expression): { exportName: string; type: number[]; code: number[] } {
  const func = list(expression)
  if (func[0] !== 'func') throw new SyntaxError('expected (func ...)')
  const field = (name: string) => func.filter((part) => part[0] === name && Array.isArray(part)) as Expression[][]
  const typesOf = (parts: Expression[][]) => parts.map((part) => typeOf(part.at(-1)))
  const locals = [...field('param'), ...field('local')]
  const names = new Map(locals.map((part, index) => [String(part[1]), index]))
  const bytes = (types: number[]) => vector(types.map((type) => [type]))
  const own = typesOf(field('local'))
  const body = func.filter((part) => Array.isArray(part) && !/^(export|param|result|local)$/.test(String(part[0])))
  return {
    exportName: String(field('export')[0]?.[1]).slice(1, -1),
    type: [0x60, ...bytes(typesOf(field('param'))), ...bytes(typesOf(field('result')))],
    code: [
      ...vector(own.map((type) => [1, type])),
      ...body.flatMap((instruction) => emit(instruction as Expression[], names, [])),
      END,
    ],
  }
}

function emit(expression: Expression[], locals: ReadonlyMap<string, number>, labels: readonly string[]): number[] {
  const [head, ...rest] = expression
  const name = String(head)
  const all = (parts: readonly Expression[], inside = labels) =>
    parts.flatMap((part) => emit(list(part), locals, inside))
  if (name in BLOCKS) {
    const [label, ...body] = rest
    return [BLOCKS[name]!, NO_RESULT, ...all(body, [String(label), ...labels]), END]
  }
  if (name === 'if') {
    const [condition, then] = rest
    return [...all([condition!]), 0x04, NO_RESULT, ...all(list(then).slice(1), ['', ...labels]), END]
  }
  if (name in BRANCHES) {
    const depth = labels.indexOf(String(rest[0]))
    if (depth < 0) throw new SyntaxError(`no label ${rest[0]}`)
    return [...all(rest.slice(1)), BRANCHES[name]!, depth]
  }
  if (name in LOCALS) {
    const index = locals.get(String(rest[0]))
    if (index === undefined) throw new SyntaxError(`no local ${rest[0]}`)
    return [...all(rest.slice(1)), LOCALS[name]!, ...unsigned(index)]
  }
  if (name === 'i32.const') return [0x41, ...signed(Number(rest[0]))]
  if (name === 'f32.const') return [0x43, ...new Uint8Array(Float32Array.of(Number(rest[0])).buffer)]
  if (name === 'f64.const') return [0x44, ...new Uint8Array(Float64Array.of(Number(rest[0])).buffer)]
  const lanes = name === 'i8x16.shuffle' ? 16 : name in LANES ? 1 : 0
  const operands = rest.slice(lanes)
  const memory = MEMORY[name]
  const opcode = memory ? [...memory[0], memory[1], 0] : (PLAIN[name] ?? LANES[name])
  if (!opcode) throw new SyntaxError(`no instruction ${name}`)
  return [...all(operands), ...opcode, ...rest.slice(0, lanes).map(Number)]
}

function list(expression: Expression | undefined): Expression[] {
  if (Array.isArray(expression)) return expression
  throw new SyntaxError(`expected an instruction, found ${expression}`)
}

function typeOf(name: Expression | undefined): number {
  const type = TYPES[String(name)]
  if (type === undefined) throw new SyntaxError(`no type ${name}`)
  return type
}

function parse(source: string): Expression[] {
  const stack: Expression[][] = [[]]
  for (const token of source.replace(/;;.*/g, '').match(/[()]|[^\s()]+/g) ?? []) {
    if (token === '(') stack.push([])
    else if (token !== ')') stack.at(-1)!.push(token)
    else {
      const done = stack.pop()!
      if (stack.length === 0) throw new SyntaxError('one ) too many')
      stack.at(-1)!.push(done)
    }
  }
  if (stack.length !== 1) throw new SyntaxError('a ) is missing')
  return stack[0]!
}

const section = (id: number, content: readonly number[]) => [id, ...unsigned(content.length), ...content]
const vector = (items: readonly (readonly number[])[]) => [...unsigned(items.length), ...items.flat()]
const text = (value: string) => [...unsigned(value.length), ...Buffer.from(value)]

/** LEB128 */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)]
}

function signed(value: number): number[] {
  if (value >= -0x40 && value < 0x40) return [value & 0x7f]
  return [(value & 0x7f) | 0x80, ...signed(value >> 7)]
}
