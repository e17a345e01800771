/** Words of the menu and the native dialogs. The window has its own table; these are what the system draws. */

const en = {
  file: 'File',
  openFolder: 'Open Folder of Images…',
  openProject: 'Open Project…',
  openRecent: 'Open Recent',
  noRecent: 'Nothing opened yet',
  closeProject: 'Close Project',
  export: 'Export…',
  quit: 'Quit',
  edit: 'Edit',
  undo: 'Undo',
  redo: 'Redo',
  cut: 'Cut',
  copy: 'Copy',
  paste: 'Paste',
  selectAll: 'Select All',
  view: 'View',
  theme: 'Theme',
  themeSystem: 'As the System',
  themeLight: 'Light',
  themeDark: 'Dark',
  actualSize: 'Actual Text Size',
  larger: 'Larger Text',
  smaller: 'Smaller Text',
  fullScreen: 'Full Screen',
  reload: 'Reload Window',
  developerTools: 'Developer Tools',
  window: 'Window',
  help: 'Help',
  shortcuts: 'Keyboard Shortcuts',
  logs: 'Show Log Files',
  aboutGroma: 'About the Groma Model',
  about: 'About Gromatic',
  pickFolder: 'Choose a folder of images',
  pickProject: 'Choose a project',
  pickSave: 'Save as',
  open: 'Open',
  save: 'Save',
  projectFiles: 'Gromatic projects',
  cannotOpen: 'This could not be opened',
  cannotStart: 'Gromatic could not start',
  windowCrashed: 'The window stopped several times within a minute. Everything saved is safe.',
  again: 'Try Again',
}
export type Labels = typeof en
export type Language = 'en' | 'zh'

const zh: Labels = {
  file: '文件',
  openFolder: '打开图片文件夹…',
  openProject: '打开项目…',
  openRecent: '最近打开',
  noRecent: '暂无记录',
  closeProject: '关闭项目',
  export: '导出…',
  quit: '退出',
  edit: '编辑',
  undo: '撤销',
  redo: '重做',
  cut: '剪切',
  copy: '复制',
  paste: '粘贴',
  selectAll: '全选',
  view: '视图',
  theme: '主题',
  themeSystem: '跟随系统',
  themeLight: '浅色',
  themeDark: '深色',
  actualSize: '默认文字大小',
  larger: '放大文字',
  smaller: '缩小文字',
  fullScreen: '全屏',
  reload: '重新加载窗口',
  developerTools: '开发者工具',
  window: '窗口',
  help: '帮助',
  shortcuts: '键盘快捷键',
  logs: '显示日志文件',
  aboutGroma: '关于 Groma 模型',
  about: '关于 Gromatic',
  pickFolder: '选择图片文件夹',
  pickProject: '选择项目',
  pickSave: '另存为',
  open: '打开',
  save: '保存',
  projectFiles: 'Gromatic 项目',
  cannotOpen: '无法打开',
  cannotStart: 'Gromatic 无法启动',
  windowCrashed: '窗口在一分钟内多次停止运行。已保存的内容不受影响。',
  again: '重试',
}

export const labels: Readonly<Record<Language, Labels>> = { en, zh }

/** The first of the system's languages that we speak. */
export function languageOf(preferred: readonly string[]): Language {
  for (const tag of preferred) {
    const language = tag.toLowerCase().split('-')[0]
    if (language === 'en' || language === 'zh') return language
  }
  return 'en'
}
