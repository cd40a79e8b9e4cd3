// What we use of Node's HTTP. It is not imported, because an import reads every export of a builtin module, and reading that of
// WebSocket loads undici: a fortieth of a start, for nothing.
export const { Agent, createServer, request, STATUS_CODES } = process.getBuiltinModule('node:http');
