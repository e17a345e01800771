/** Served mode as an attacker sees it, and as a window does: real sockets, real services. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket as WsSocket } from 'ws'
import type { Client } from '../../electron/contract/api.ts'
import { type RunningServer, startServer } from '../../electron/server.ts'
import { connectWebSocket } from '../../electron/transport/client.ts'
import * as policy from '../../electron/transport/servedPolicy.ts'
import { type Bench, codeOf, makeBench, openWhole } from './support.ts'

let bench: Bench
let server: RunningServer
let base: string
beforeAll(async () => {
  bench = await makeBench()
  await openWhole(bench.services.client, bench.images)
  const rendererDir = join(bench.root, 'renderer')
  mkdirSync(join(rendererDir, 'assets'), { recursive: true })
  writeFileSync(join(rendererDir, 'index.html'), '<!doctype html><title>Gromatic</title>')
  writeFileSync(join(rendererDir, 'assets', 'main-abc.js'), 'export {}')
  writeFileSync(join(rendererDir, 'notes.secretkind'), 'x')
  writeFileSync(join(bench.root, 'secret.txt'), 'secret')
  symlinkSync(join(bench.root, 'secret.txt'), join(rendererDir, 'link.txt'))
  server = await startServer({ client: bench.services.client, image: bench.services.picture, rendererDir, port: 0 })
  base = `http://127.0.0.1:${server.port}`
})
afterAll(async () => {
  await server.close()
  await bench.close()
})

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: string
}
/** A request byte for byte as given: fetch would tidy the path and forbid the headers. */
function ask(method: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port: server.port, method, path, headers, setHost: !('host' in headers) },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }))
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}
const bearer = () => ({ authorization: `Bearer ${server.token}` })

/** How a WebSocket handshake ends: `open`, or the status it was refused with. */
function handshake(protocols: string[], headers: Record<string, string> = {}, path = '/socket'): Promise<string> {
  return new Promise((resolve) => {
    const socket = new WsSocket(`ws://127.0.0.1:${server.port}${path}`, protocols, { headers })
    socket.on('open', () => {
      socket.close()
      resolve('open')
    })
    socket.on('unexpected-response', (_request, response) => resolve(String(response.statusCode)))
    socket.on('error', () => resolve('error'))
  })
}

describe('the door', () => {
  it('answers only to its own names', async () => {
    for (const host of [`127.0.0.1:${server.port}`, `localhost:${server.port}`, `LOCALHOST:${server.port}`]) {
      expect((await ask('GET', '/', { host })).status, host).toBe(200)
    }
    const others = [
      'evil.example',
      `evil.example:${server.port}`,
      '127.0.0.1',
      '127.0.0.1:1',
      `127.0.0.1:${server.port}.evil.example`,
      `0.0.0.0:${server.port}`,
      '',
    ]
    for (const host of others) expect((await ask('GET', '/', { host })).status, host).toBeGreaterThanOrEqual(400)
  })

  it('refuses other origins, whatever they know', async () => {
    for (const origin of [
      'https://evil.example',
      'null',
      `https://127.0.0.1:${server.port}`,
      `http://127.0.0.1:1`,
      'file://',
    ]) {
      expect((await ask('POST', '/session', { origin, ...bearer() })).status, origin).toBe(403)
      expect(await handshake(['gromatic', `token.${server.token}`], { origin }), origin).toBe('403')
    }
    expect((await ask('OPTIONS', '/call/app.info', { origin: 'https://evil.example' })).status).toBe(403)
    const own = await ask('POST', '/session', { origin: base, ...bearer() })
    expect(own.status).toBe(204)
    expect(Object.keys(own.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })

  it('wants the token for every call', async () => {
    for (const authorization of [
      '',
      'Bearer ',
      'Bearer x',
      `Bearer ${server.token}x`,
      `bearer ${server.token}`,
      `Basic ${server.token}`,
    ]) {
      expect((await ask('POST', '/session', { authorization })).status, authorization).toBe(401)
      expect((await ask('POST', '/call/app.info', { authorization }, '{}')).status, authorization).toBe(401)
    }
    expect(await handshake(['gromatic'])).toBe('401')
    expect(await handshake(['gromatic', 'token.wrong'])).toBe('401')
    expect(await handshake([`token.${server.token}`])).toBe('401')
    expect(await handshake(['gromatic', `token.${server.token}`], { host: 'evil.example' })).toBe('403')
    expect(await handshake(['gromatic', `token.${server.token}`])).toBe('open')
    expect(server.token).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(server.url).toBe(`${base}/#token=${server.token}`)
  })

  it('gives a cookie that opens images and nothing else', async () => {
    const { headers } = await ask('POST', '/session', bearer())
    const set = String(headers['set-cookie'])
    expect(set).toMatch(/; Path=\/images; HttpOnly; SameSite=Strict/)
    expect(set).not.toContain(server.token)
    const cookie = set.split(';')[0]!
    expect((await ask('GET', '/images/1')).status).toBe(401)
    expect((await ask('GET', '/images/1', { cookie: `${cookie}x` })).status).toBe(401)
    const image = await ask('GET', '/images/1?width=32', { cookie })
    expect(image).toMatchObject({
      status: 200,
      headers: { 'content-type': 'image/webp', 'cache-control': 'private, no-cache' },
    })
    const again = await ask('GET', '/images/1?width=32', { cookie, 'if-none-match': String(image.headers.etag) })
    expect(again.status).toBe(304)
    expect((await ask('POST', '/call/app.info', { cookie }, '{}')).status).toBe(401)
    expect((await ask('GET', '/images/999', { cookie })).status).toBe(404)
    for (const path of ['/images/0', '/images/-1', '/images/1/..', '/images/../../etc/passwd', '/images/1e3']) {
      expect((await ask('GET', path, { cookie })).status, path).toBe(404)
    }
    for (const width of ['0', '-5', 'x', '1e3', '9999999']) {
      expect((await ask('GET', `/images/1?width=${width}`, { cookie })).status, width).toBe(400)
    }
  })

  it('serves the bundle and nothing beside it', async () => {
    const index = await ask('GET', '/')
    expect(index).toMatchObject({
      status: 200,
      headers: { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-cache' },
    })
    const csp = String(index.headers['content-security-policy'])
    expect(csp).toContain("default-src 'none'; script-src 'self'; style-src 'self'")
    expect(csp).not.toContain('unsafe')
    expect(index.headers['x-content-type-options']).toBe('nosniff')
    expect((await ask('GET', '/assets/main-abc.js?x=1')).headers['cache-control']).toContain('immutable')
    expect((await ask('HEAD', '/')).body).toBe('')
    const outside = [
      '/../secret.txt',
      '/..%2fsecret.txt',
      '/%2e%2e/secret.txt',
      '/assets/../../secret.txt',
      '/assets/..%2f..%2fsecret.txt',
      '/..%5csecret.txt',
      '/link.txt',
      '/notes.secretkind',
      '/assets',
      '/assets/',
      '//etc/passwd',
      '/%00',
      '/%',
      '/C:/x.txt',
      '/.hidden.txt',
      '/none.js',
    ]
    for (const path of outside) {
      const answer = await ask('GET', path)
      expect(answer.status, path).toBeGreaterThanOrEqual(400)
      expect(answer.body, path).not.toContain('secret')
    }
    for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS']) expect((await ask(method, '/')).status).toBe(405)
  })

  it('takes no more than a mebibyte', async () => {
    const big = JSON.stringify({ path: 'x'.repeat(1024 * 1024) })
    expect((await ask('POST', '/call/files.list', bearer(), big)).status).toBe(413)
    const closed = await new Promise<number>((resolve) => {
      const socket = new WsSocket(`ws://127.0.0.1:${server.port}/socket`, ['gromatic', `token.${server.token}`])
      socket.on('open', () => socket.send(JSON.stringify({ id: 1, type: 'call', name: 'files.list', input: big })))
      socket.on('close', (code) => resolve(code))
      socket.on('error', () => {})
    })
    expect([1006, 1009]).toContain(closed)
  })

  it('names a busy port', async () => {
    const other = createServer()
    const port = await new Promise<number>((resolve) =>
      other.listen(0, '127.0.0.1', () => resolve((other.address() as { port: number }).port)),
    )
    const options = { client: bench.services.client, image: bench.services.picture, rendererDir: bench.root, port }
    const failed = startServer(options)
    expect(await codeOf(failed)).toBe('PORT_BUSY')
    await expect(startServer(options)).rejects.toThrow(String(port))
    other.close()
  })
})

describe('calls', () => {
  it('answers scripts over HTTP with codes and status', async () => {
    expect(JSON.parse((await ask('POST', '/call/app.info', bearer())).body)).toMatchObject({
      version: expect.any(String),
    })
    expect((await ask('POST', '/call/images.get', bearer(), '{"id":999}')).status).toBe(404)
    const wrong = await ask('POST', '/call/images.get', bearer(), '{"id":"x"}')
    expect(wrong.status).toBe(400)
    expect(JSON.parse(wrong.body).error).toMatchObject({ code: 'INVALID_INPUT' })
    expect(wrong.body).not.toContain('.ts:') // no stacks
    expect((await ask('POST', '/call/images.get', bearer(), '{')).status).toBe(400)
    expect((await ask('POST', '/call/constructor', bearer(), '{}')).status).toBe(400)
    expect((await ask('POST', '/call/grounding.propose', bearer(), '{"imageId":1}')).body).toBe('{"proposed":3}')
  })

  it('gives a window everything: calls, jobs, progress, cancel, events', async () => {
    const client = connectWebSocket(base, server.token)
    const connected: boolean[] = []
    client.onConnection((now) => connected.push(now))
    const revised: string[] = []
    client.on('workspace.revised', ({ revision }) => revised.push(revision.label))
    expect((await client.call('project.current', {}))?.imageCount).toBe(3) // asked before the connection was up
    await client.call('annotations.create', { imageId: 1, bboxXywh: [1, 1, 20, 20] })
    expect(revised).toContain('Draw box')
    const texts: string[] = []
    const controller = new AbortController()
    const asking = client.run(
      'grounding.ask',
      { imageId: 1, question: 'slow' },
      { signal: controller.signal, onProgress: ({ text }) => texts.push(text) === 5 && controller.abort() },
    )
    expect(await codeOf(asking)).toBe('CANCELLED')
    expect(texts.length).toBeGreaterThan(4)
    expect(await codeOf(client.call('images.get', { id: 999 }))).toBe('NOT_FOUND')
    expect(client.imageUrl(7, 128)).toBe(`${base}/images/7?width=128`)
    expect(connected).toEqual([false, true])
  })

  it('survives nonsense on the socket', async () => {
    const answers: unknown[] = []
    const socket = new WsSocket(`ws://127.0.0.1:${server.port}/socket`, ['gromatic', `token.${server.token}`])
    await new Promise((resolve) => socket.on('open', resolve))
    socket.on('message', (data) => answers.push(JSON.parse(String(data))))
    for (const message of [
      null,
      1,
      'x',
      [],
      {},
      { id: 1 },
      { id: 2, type: 'call', name: 5 },
      { id: 3, type: 'call', name: 'toString', input: {} },
      { id: 9, type: 'cancel' },
    ]) {
      socket.send(JSON.stringify(message))
    }
    socket.send(JSON.stringify({ id: 4, type: 'call', name: 'app.info', input: {} }))
    const end = Date.now() + 30_000
    while (!answers.some((answer) => (answer as { id: number }).id === 4) && Date.now() < end)
      await new Promise((done) => setTimeout(done, 10))
    expect(answers).toContainEqual(expect.objectContaining({ id: 4, type: 'result' }))
    expect(answers).toContainEqual(expect.objectContaining({ id: 3, type: 'error' }))
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.send('{not json')
    await closed
  })

  it('rejects what was in flight when the connection is lost, and comes back by itself', async () => {
    const own = await startServer({
      client: bench.services.client,
      image: bench.services.picture,
      rendererDir: bench.root,
      port: 0,
    })
    const client: Client = connectWebSocket(`http://127.0.0.1:${own.port}`, own.token)
    await client.call('app.info', {})
    const states: boolean[] = []
    client.onConnection((now) => states.push(now))
    const slow = codeOf(client.run('grounding.ask', { imageId: 1, question: 'slow and long' }))
    await new Promise((resolve) => setTimeout(resolve, 200))
    await own.close()
    expect(await slow).toBe('IO_FAILED')
    expect(await codeOf(client.call('app.info', {}))).toBe('IO_FAILED')
    const back = await startServer({
      client: bench.services.client,
      image: bench.services.picture,
      rendererDir: bench.root,
      port: own.port,
      token: own.token,
    })
    const end = Date.now() + 30_000
    while (states.at(-1) !== true && Date.now() < end) await new Promise((done) => setTimeout(done, 20))
    expect(states).toEqual([true, false, true])
    expect((await client.call('app.info', {})).version).toBeTypeOf('string')
    await back.close()
  })
})

describe('the policy', () => {
  it('reads headers strictly', () => {
    expect(policy.sameSecret('abc', 'abc')).toBe(true)
    expect(policy.sameSecret('abc', 'abd')).toBe(false)
    expect(policy.sameSecret('', 'abc')).toBe(false)
    expect(policy.hostAllowed(undefined, 1)).toBe(false)
    expect(policy.originAllowed(undefined, 1)).toBe(true)
    expect(policy.originAllowed('http://127.0.0.1:1', 1)).toBe(true)
    expect(policy.subprotocolToken('gromatic, token.abc')).toBe('abc')
    expect(policy.cookieValue('a=1; b=2=3', 'b')).toBe('2=3')
    expect(policy.bundlePath('/a%2e%2e/b')).toBe('a../b')
    expect(policy.bundlePath('/')).toBe('index.html')
    expect(new Set(Array.from({ length: 50 }, policy.newToken)).size).toBe(50)
  })
})
