/** Every rule of the window's policy, as tables. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as policy from '../../electron/shell/policy.ts'

describe('addresses', () => {
  const navigation: [string, boolean][] = [
    ['app://gromatic/index.html', true],
    ['app://gromatic/', true],
    ['app://gromatic/index.html?lang=zh#regions', true],
    ['app://gromatic/images/1', false],
    ['app://gromatic/assets/index.js', false],
    ['app://gromatic.example/index.html', false],
    ['app://evil/index.html', false],
    ['app://user:secret@gromatic/index.html', false],
    ['app://gromatic:81/index.html', false],
    ['https://gromatic/index.html', false],
    ['http://localhost/index.html', false],
    ['file:///etc/passwd', false],
    ['javascript:alert(1)', false],
    ['data:text/html,<script>1</script>', false],
    ['blob:app://gromatic/0b1', false],
    ['chrome://gpu', false],
    ['about:blank', false],
    ['', false],
    ['not an address', false],
  ]
  it.each(navigation)('navigates to %s: %s', (url, allowed) => expect(policy.mayNavigate(url)).toBe(allowed))

  const external: [string, string | null][] = [
    ['https://groma-mllm.github.io/', 'https://groma-mllm.github.io/'],
    [
      'https://huggingface.co/FoundationVision/groma-7b-finetune',
      'https://huggingface.co/FoundationVision/groma-7b-finetune',
    ],
    ['https://github.com/FoundationVision/Groma#readme', 'https://github.com/FoundationVision/Groma#readme'],
    ['https://GitHub.com/a', 'https://github.com/a'],
    ['http://github.com/', null],
    ['https://github.com:8443/', null],
    ['https://user@github.com/', null],
    ['https://user:secret@github.com/', null],
    ['https://github.com.evil.example/', null],
    ['https://evil.example/?github.com', null],
    ['https://evilgithub.com/', null],
    ['https://gist.github.com/', null],
    ['https://github.com@evil.example/', null],
    ['https://github.com./', null],
    ['file:///bin/sh', null],
    ['smb://github.com/share', null],
    ['ms-msdt:/id', null],
    ['javascript:alert(1)', null],
    ['', null],
  ]
  it.each(external)('hands %s to the browser as %s', (url, expected) => {
    expect(policy.externalUrl(url)).toBe(expected)
    expect(policy.windowOpenDecision(url)).toEqual({ action: 'deny', external: expected })
  })

  const requests: [string, boolean, boolean][] = [
    ['app://gromatic/index.html', true, true],
    ['app://gromatic/images/3?width=64', true, true],
    ['blob:app://gromatic/5c7d', true, true],
    ['data:image/png;base64,AA==', true, true],
    ['devtools://devtools/bundled/inspector.html', false, true],
    ['blob:https://evil.example/5c7d', false, false],
    ['app://evil/x.js', false, false],
    ['https://github.com/', false, false],
    ['http://127.0.0.1:8080/', false, false],
    ['ws://127.0.0.1:8080/', false, false],
    ['file:///etc/passwd', false, false],
    ['ftp://host/', false, false],
    ['chrome-extension://abc/x.js', false, false],
    ['nonsense', false, false],
  ]
  it.each(requests)('requests %s: packaged %s, in a clone %s', (url, packaged, clone) => {
    expect(policy.mayRequest(url, false)).toBe(packaged)
    expect(policy.mayRequest(url, true)).toBe(clone)
  })

  it('grants no permission', () => {
    for (const name of [
      'media',
      'geolocation',
      'clipboard-read',
      'clipboard-sanitized-write',
      'usb',
      'fullscreen',
      'new',
    ])
      expect(policy.permissionGranted(name)).toBe(false)
  })
})

describe('senders and messages', () => {
  const own = { frameUrl: policy.INDEX_URL, isMainFrame: true, fromOwnWindow: true }
  const senders: [string, policy.Sender, boolean][] = [
    ['the page', own, true],
    ['the page after an in-page step', { ...own, frameUrl: `${policy.INDEX_URL}#x` }, true],
    ['a frame that has gone', { ...own, frameUrl: null }, false],
    ['a frame inside the page', { ...own, isMainFrame: false }, false],
    ['other contents', { ...own, fromOwnWindow: false }, false],
    ['another origin', { ...own, frameUrl: 'https://gromatic/index.html' }, false],
    ['another host', { ...own, frameUrl: 'app://evil/index.html' }, false],
    ['a blank page', { ...own, frameUrl: 'about:blank' }, false],
    ['nothing loaded', { ...own, frameUrl: '' }, false],
  ]
  it.each(senders)('%s', (_name, sender, trusted) => expect(policy.isTrustedSender(sender)).toBe(trusted))

  it('takes short text only', () => {
    expect(policy.isMessage('{}')).toBe(true)
    expect(policy.isMessage('x'.repeat(policy.MAX_MESSAGE_CHARS))).toBe(true)
    for (const bad of ['', 'x'.repeat(policy.MAX_MESSAGE_CHARS + 1), 1, null, undefined, {}, ['{}']])
      expect(policy.isMessage(bad)).toBe(false)
  })
})

describe('app://', () => {
  const at = (path: string) => policy.route('GET', `app://gromatic${path}`)

  it('asks for images by id', () => {
    expect(at('/images/12')).toEqual({ kind: 'image', imageId: 12, width: null })
    expect(at('/images/12?width=256&v=3')).toEqual({ kind: 'image', imageId: 12, width: 256 })
  })

  it.each([
    '/images',
    '/images/',
    '/images/0',
    '/images/-1',
    '/images/1.5',
    '/images/01',
    '/images/9999999999999999',
    '/images/1/../../x',
    '/images/%2e%2e/main.js',
    '/images//etc/passwd',
    '/images/..%2f..%2fetc%2fpasswd',
    '/images/1/extra',
  ])('refuses %s as an image', (path) => {
    expect(at(path).kind).not.toBe('image')
  })
  it.each(['0', '-5', '1e3', '100000', 'x', ''])('refuses the width "%s"', (width) =>
    expect(at(`/images/1?width=${width}`)).toMatchObject({ kind: 'refused', status: 400 }),
  )

  it('serves the bundle with its types', () => {
    expect(at('/')).toEqual({ kind: 'file', segments: ['index.html'], contentType: 'text/html; charset=utf-8' })
    expect(at('/assets/index-1.js')).toMatchObject({ kind: 'file', segments: ['assets', 'index-1.js'] })
    expect(at('/assets/inter%20v.woff2')).toMatchObject({
      segments: ['assets', 'inter v.woff2'],
      contentType: 'font/woff2',
    })
  })

  it.each([
    '/..%2f..%2fsecret.html',
    '/..%5c..%5csecret.html',
    '/assets/..%2f..%2f..%2fpackage.json',
    '/.env.json',
    '/assets/.git/config.json',
    '/C:/windows/x.html',
    '/c%3A/windows/x.html',
    '/%00.html',
    '/a%0d%0aX-Header:1.html',
    '//etc/passwd.html',
    '/%E0%A4%A.html',
    '/main.ts',
    '/native.node',
    '/index.html/',
    '/constructor',
    '/x.constructor',
    '/noextension',
  ])('refuses %s', (path) => expect(at(path).kind).toBe('refused'))

  it('lets the URL parser take dots out, which end at the root', () => {
    for (const path of ['/../../etc/x.html', '/%2e%2e/%2E./etc/x.html', '/a/../etc/./x.html'])
      expect(at(path)).toMatchObject({ segments: ['etc', 'x.html'] })
  })

  it('refuses other methods and hosts', () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'get'])
      expect(policy.route(method, policy.INDEX_URL)).toMatchObject({ kind: 'refused', status: 405 })
    expect(policy.route('HEAD', policy.INDEX_URL).kind).toBe('file')
    expect(policy.route('GET', 'app://evil/index.html')).toMatchObject({ kind: 'refused', status: 403 })
    expect(policy.route('GET', 'file:///index.html')).toMatchObject({ kind: 'refused', status: 403 })
  })

  it('sends the policy with every answer', () => {
    const headers = policy.responseHeaders('text/html')
    const csp = headers['Content-Security-Policy']!
    expect(csp).toContain("default-src 'none'")
    expect(csp).toContain("script-src 'self'")
    expect(csp).not.toMatch(/unsafe|\*|https?:/)
    expect(headers['X-Content-Type-Options']).toBe('nosniff')
  })
})

describe('files inside the bundle', () => {
  let base = ''
  let root = ''
  beforeAll(() => {
    base = realpathSync(mkdtempSync(join(tmpdir(), 'gromatic-policy-')))
    root = join(base, 'renderer')
    mkdirSync(join(root, 'assets'), { recursive: true })
    mkdirSync(join(base, 'renderer-secret'))
    writeFileSync(join(root, 'index.html'), '')
    writeFileSync(join(root, 'assets', 'app.js'), '')
    writeFileSync(join(base, 'secret.html'), '')
    writeFileSync(join(base, 'renderer-secret', 'x.html'), '')
    symlinkSync(join(base, 'secret.html'), join(root, 'link.html'))
    symlinkSync(base, join(root, 'up'))
    symlinkSync(join(base, 'renderer-secret'), join(root, 'beside'))
    symlinkSync(join(root, 'assets', 'app.js'), join(root, 'inner.js'))
    symlinkSync(join(root, 'loop.html'), join(root, 'loop.html'))
    symlinkSync(root, join(base, 'linked-root'))
  })
  afterAll(() => rmSync(base, { recursive: true }))

  it('finds what is there', async () => {
    expect(await policy.resolveInside(root, ['index.html'])).toBe(join(root, 'index.html'))
    expect(await policy.resolveInside(root, ['assets', 'app.js'])).toBe(join(root, 'assets', 'app.js'))
  })
  it('follows links before it compares', async () => {
    expect(await policy.resolveInside(root, ['link.html'])).toBeNull()
    expect(await policy.resolveInside(root, ['up', 'secret.html'])).toBeNull()
    expect(await policy.resolveInside(root, ['beside', 'x.html'])).toBeNull()
    expect(await policy.resolveInside(root, ['loop.html'])).toBeNull()
    expect(await policy.resolveInside(root, ['inner.js'])).toBe(join(root, 'assets', 'app.js'))
    expect(await policy.resolveInside(join(base, 'linked-root'), ['index.html'])).toBe(join(root, 'index.html'))
  })
  it('refuses what is not there or above, even when asked without route()', async () => {
    expect(await policy.resolveInside(root, ['gone.html'])).toBeNull()
    expect(await policy.resolveInside(root, ['..', 'secret.html'])).toBeNull()
    expect(await policy.resolveInside(root, ['..', 'renderer-secret', 'x.html'])).toBeNull()
    expect(await policy.resolveInside(root, [])).toBeNull()
  })

  it('never leaves the bundle, whatever is asked', async () => {
    const piece = fc.oneof(
      fc.constantFrom(
        '..',
        '.',
        '%2e%2e',
        '..%2f',
        '%5c',
        '%00',
        '/',
        '//',
        'up',
        'beside',
        'assets',
        'link.html',
        'C:',
      ),
      fc.string(),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 6 }), fc.constantFrom('', '.html', '.js'), async (pieces, end) => {
        const wanted = policy.route('GET', `app://gromatic/${pieces.join('/')}${end}`)
        if (wanted.kind !== 'file') return
        const path = await policy.resolveInside(root, wanted.segments)
        if (path !== null) expect(path.startsWith(root + sep)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})
