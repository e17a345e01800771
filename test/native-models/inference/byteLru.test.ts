import { describe, expect, it } from 'vitest'
import { ByteLru } from '../../../native-models/inference/byteLru.ts'

describe('ByteLru', () => {
  const size = (value: string) => value.length
  const make = (value: string) => async () => value

  it('drops what was used longest ago', async () => {
    const lru = new ByteLru(10)
    await lru.getOrMake('a', make('aaaa'), size)
    await lru.getOrMake('b', make('bbbb'), size)
    expect(lru.get('a')).toBe('aaaa')
    await lru.getOrMake('c', make('cccc'), size)
    expect([lru.get('a'), lru.get('b'), lru.get('c'), lru.bytes]).toEqual(['aaaa', undefined, 'cccc', 8])
  })

  it('hands out what is too large without keeping it, and counts replaced values once', async () => {
    const lru = new ByteLru(10)
    lru.set('a', 'aaaa', 4)
    expect(await lru.getOrMake('big', make('x'.repeat(11)), size)).toHaveLength(11)
    expect([lru.get('big'), lru.get('a'), lru.bytes]).toEqual([undefined, 'aaaa', 4])
    lru.set('a', 'aaaaaa', 6)
    expect(lru.bytes).toBe(6)
    lru.clear()
    expect([lru.get('a'), lru.bytes]).toEqual([undefined, 0])
  })

  it('makes a value once', async () => {
    const lru = new ByteLru(10)
    let made = 0
    const count = async () => {
      made++
      return 'v'
    }
    await lru.getOrMake('a', count, size)
    await lru.getOrMake('a', count, size)
    expect(made).toBe(1)
  })
})
