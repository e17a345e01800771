/** Names of the IPC channels. The preload is made of this file and itself: nothing else belongs in a page's process. */
export const channels = {
  /** page -> main: this page is there; whatever an earlier page of the window still ran ends. */
  connect: 'gromatic:connect',
  /** main -> page: whether the services answer. */
  connection: 'gromatic:connection',
  /** Both ways: one message of the transport as JSON text. */
  message: 'gromatic:message',
  /** page -> main, answered: a native dialog. */
  pick: 'gromatic:pick',
  /** main -> page: a menu item was chosen. */
  menu: 'gromatic:menu',
} as const
