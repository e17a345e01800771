/**
 * Packages for the people who do not build: `npm run package` on each system for that system (the native packages of
 * another one are not installed here). There is no updater: nothing leaves the machine, and nothing comes to it unasked.
 */

/** Native code, and what it, a child process or a thread reads as a plain file: images, checkpoints, model folders, code. */
const asarUnpack = [
  'node_modules/better-sqlite3/**',
  'node_modules/onnxruntime-node/**',
  'node_modules/onnxruntime-common/**',
  'node_modules/sharp/**',
  'node_modules/@img/**',
  'native-models/demo/**',
  'out/electron/conversionThread.mjs',
]

/** Bundled into out/ already, or the Node that a clone runs on. */
const notNeeded = [
  'node-bin-*',
  'node-linux-*',
  'node-win-*',
  'commander',
  'protobufjs',
  'ws',
  'zod',
  'adm-zip',
  'global-agent',
]

/**
 * Two packages carry the binaries of every system and processor: only the target's stay. The placeholders are
 * electron-builder's. One list for all systems, because `files` of a system would replace this list, not add to it.
 */
const otherSystems = [
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: see above
  '!node_modules/onnxruntime-node/bin/napi-v6/!(${platform})/**',
  '!node_modules/onnxruntime-node/bin/napi-v6/*/!(${arch})/**',
  '!node_modules/better-sqlite3/prebuilds/!(${platform}-${arch}).node',
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: see above
]

/** @type {import('electron-builder').Configuration} */
export default {
  appId: 'com.gromatic.app',
  productName: 'Gromatic',
  copyright: 'Apache-2.0',
  directories: { output: 'release', buildResources: 'build' },
  icon: 'build/icons/icon.png',

  asar: true,
  asarUnpack,
  files: [
    'out/**',
    '!out/**/*.map',
    '!out/.*',
    'native-models/demo/**',
    'LICENSE*',
    'NOTICE*',
    'package.json',
    ...notNeeded.map((name) => `!node_modules/${name}/**`),
    '!node_modules/better-sqlite3/{deps,src}/**',
    '!node_modules/**/*.{md,ts,map}',
    ...otherSystems,
  ],
  extraResources: [{ from: 'build/licences', to: 'licences', filter: ['**/*'] }],

  // better-sqlite3, sharp and onnxruntime-node are Node-API: their binaries are the same for Node and Electron.
  npmRebuild: false,
  buildDependenciesFromSource: false,
  nodeGypRebuild: false,
  electronLanguages: ['en', 'en-US', 'zh_CN', 'zh-CN'],
  publish: null,

  afterPack: 'build/afterPack.mjs',
  // The fuses are flipped there: electron-builder's own option knows fewer of them than Electron has.
  electronFuses: null,

  fileAssociations: [{ ext: 'gromatic', name: 'Gromatic project', description: 'Gromatic project', role: 'Editor' }],

  win: {
    target: [{ target: 'nsis', arch: ['x64'] }],
  },
  nsis: {
    oneClick: false,
    perMachine: false,
    allowToChangeInstallationDirectory: true,
    deleteAppDataOnUninstall: false,
  },
  mac: {
    // onnxruntime-node has no library for Intel Macs.
    target: [{ target: 'dmg', arch: ['arm64'] }],
    category: 'public.app-category.graphics-design',
    hardenedRuntime: true,
    gatekeeperAssess: false,
    darkModeSupport: true,
  },
  linux: {
    target: [
      { target: 'AppImage', arch: ['x64'] },
      { target: 'deb', arch: ['x64'] },
    ],
    executableName: 'gromatic',
    category: 'Graphics',
    synopsis: 'Image annotation with a grounding model on your own machine',
    maintainer: 'Gromatic',
  },
  // biome-ignore lint/suspicious/noTemplateCurlyInString: electron-builder's own placeholders
  artifactName: '${productName}-${version}-${os}-${arch}.${ext}',
}
