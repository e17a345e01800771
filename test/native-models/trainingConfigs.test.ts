/** The training recipe is Python and tested by itself; that its stages are all in the repository is asserted here, where tests always run. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { parseGromaConfig } from '../../native-models/groma/config.ts'

const training = join(import.meta.dirname, '../../native-models/training')
const configs = join(training, 'configs')

describe.each(['demo', 'release'])("the recipe's stages at %s size", (size) => {
  const folder = join(configs, size)
  const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'))

  it('are all three there', () => {
    const stages = files.map((name) => parse(readFileSync(join(folder, name), 'utf8')).stage)
    expect(stages).toEqual(['detection', 'alignment', 'instruction'])
  })

  it('have a shape that the application knows', () => {
    for (const name of files) {
      const { shape } = parse(readFileSync(join(folder, name), 'utf8'))
      if (shape === 'demo') continue
      const config = parseGromaConfig(JSON.parse(readFileSync(join(folder, shape), 'utf8')), shape)
      expect(config.llm).toMatchObject({ layerCount: 32, hiddenSize: 4096 })
      expect(config.vision).toMatchObject({ layerCount: 24, hiddenSize: 1024 })
    }
  })
})

it('no rule keeps a file of the recipe out of the repository', () => {
  if (!existsSync(join(training, '../../.git'))) return // an archive of the sources
  const ignored = execFileSync('git', ['ls-files', '--others', '--ignored', '--exclude-standard', '.'], {
    cwd: training,
    encoding: 'utf8',
  })
  const lost = ignored.split('\n').filter((path) => path !== '' && !/(__pycache__|venv|^weights|^data)\//.test(path))
  expect(lost).toEqual([])
})
