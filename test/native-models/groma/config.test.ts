import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseGromaConfig } from '../../../native-models/groma/config.ts'
import { referenceDir } from '../../support/makeCheckpoint.ts'

// biome-ignore lint/suspicious/noExplicitAny: the tests bend the file at will
const read = (name: string): any => JSON.parse(readFileSync(join(referenceDir, name, 'config.json'), 'utf8'))

describe('config.json', () => {
  it('gets the class defaults for what it leaves out', () => {
    const one = parseGromaConfig(read('one-level'))
    expect(one.detector).toMatchObject({
      queryCount: 300,
      proposalCount: 300,
      encoderPointCount: 4,
      activation: 'relu',
    })
    expect(one.vision).toMatchObject({ layerNormEps: 1e-6, qkvBias: true, mlpSize: 256 })
    expect(one).toMatchObject({ imageTokenLayer: 4, nmsThreshold: 0.6, scoreThreshold: 0.15, maxRegions: 100 })
    const four = parseGromaConfig(read('four-level'))
    expect(four.detector).toMatchObject({ featureLevelCount: 4, encoderHeadCount: 8, decoderHeadCount: 8 })
    expect(four.vision.mlpSize).toBe(512)
    expect(four.imageTokenLayer).toBe(4)
    const bare = read('one-level')
    bare.llm_cfg = { vocab_size: 600 }
    expect(parseGromaConfig(bare).llm).toMatchObject({
      hiddenSize: 4096,
      headSize: 128,
      kvHeadCount: 32,
      rmsNormEps: 1e-6,
    })
  })

  it('reads grouped-query sizes', () => {
    const file = read('one-level')
    file.llm_cfg.num_key_value_heads = 2
    expect(parseGromaConfig(file).llm).toMatchObject({ headCount: 4, kvHeadCount: 2, headSize: 16 })
    file.llm_cfg.num_key_value_heads = null
    expect(parseGromaConfig(file).llm.kvHeadCount).toBe(4)
  })

  // biome-ignore lint/suspicious/noExplicitAny: as above
  it.each<[string, (file: any) => void, RegExp]>([
    [
      'rotary scaling',
      (file) => {
        file.llm_cfg.rope_scaling = { type: 'linear', factor: 2 }
      },
      /llm_cfg\.rope_scaling: scaled/,
    ],
    [
      'SwiGLU',
      (file) => {
        file.perceiver_cfg.vis_encoder_cfg.use_swiglu_ffn = true
      },
      /use_swiglu_ffn/,
    ],
    [
      'one stage',
      (file) => {
        delete file.perceiver_cfg.ddetr_cfg.two_stage
      },
      /ddetr_cfg\.two_stage/,
    ],
    [
      'five levels',
      (file) => {
        file.perceiver_cfg.ddetr_cfg.num_feature_levels = 5
      },
      /num_feature_levels/,
    ],
    [
      'heads that do not divide',
      (file) => {
        file.llm_cfg.num_attention_heads = 5
      },
      /num_key_value_heads|num_attention_heads/,
    ],
    [
      'a detector too narrow for sines and cosines of two axes',
      (file) => {
        Object.assign(file.perceiver_cfg.ddetr_cfg, {
          d_model: 30,
          encoder_attention_heads: 2,
          decoder_attention_heads: 2,
        })
      },
      /d_model: 30 is not divisible by 4/,
    ],
    [
      'a contradicting vocabulary',
      (file) => {
        file.vocab_size = 700
      },
      /vocab_size: 700 contradicts/,
    ],
    [
      'a layer that is not there',
      (file) => {
        file.perceiver_cfg.vis_output_layer = -6
      },
      /vis_output_layer/,
    ],
    [
      'fewer queries than proposals',
      (file) => {
        file.perceiver_cfg.ddetr_cfg.num_queries = 10
      },
      /num_queries/,
    ],
    [
      'text for a number',
      (file) => {
        file.llm_cfg.hidden_size = '64'
      },
      /llm_cfg\.hidden_size/,
    ],
    [
      'an absurd number',
      (file) => {
        file.llm_cfg.hidden_size = 1e12
      },
      /llm_cfg\.hidden_size/,
    ],
    [
      'no language model',
      (file) => {
        delete file.llm_cfg
      },
      /llm_cfg/,
    ],
  ])('refuses %s, naming the field', (_, bend, message) => {
    const file = read('one-level')
    bend(file)
    expect(() => parseGromaConfig(file, 'somewhere/config.json')).toThrow(message)
    expect(() => parseGromaConfig(file, 'somewhere/config.json')).toThrow(/^somewhere\/config\.json: /)
  }) // prettier-ignore

  it('knows another model when it sees one', () => {
    expect(() => parseGromaConfig({ model_type: 'llama', hidden_size: 4096 })).toThrow(
      expect.objectContaining({ code: 'CHECKPOINT_FOREIGN' }),
    )
    expect(() => parseGromaConfig([])).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })
})
