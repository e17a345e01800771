import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { cpuKey, machineKey } from '../../../native-models/inference/machine.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gromatic-driver-'))
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true })
})

it.skipIf(process.platform !== 'linux')('is another machine when a Vulkan driver is replaced, wherever it lies', () => {
  const description = join(folder, 'icd.json')
  const library = join(folder, 'driver.so')
  const describe = (version: string) =>
    writeFileSync(description, JSON.stringify({ ICD: { library_path: './driver.so', api_version: version } }))
  const keys: string[] = []
  const look = () => keys.push(machineKey())
  look()
  vi.stubEnv('VK_DRIVER_FILES', `/nowhere/icd.json:${description}`)
  look()
  describe('1.4.0')
  look()
  writeFileSync(library, 'one')
  look()
  writeFileSync(library, 'another')
  look()
  describe('1.4.305')
  look()
  expect(new Set(keys).size).toBe(keys.length)
  const cpu = cpuKey()
  vi.unstubAllEnvs()
  expect(machineKey()).toBe(keys[0])
  expect(cpuKey()).toBe(cpu)
})
