-- paths: what a relative path in a pilot.lua means: a place below the directory of that file, as the file was named.
--
-- One rule for every path that luapilot itself opens, and for programs with a "/" in their name. The directory is made
-- absolute before the file runs (script/loader.lua): a script that changes the working directory changes nothing of
-- it. Until a version ago relative paths were relative to the working directory: so it is remembered how a path was
-- written, for messages and for what `check` warns of. It never looks at a file but to explain a failure.

local constant = require "luapilot.base.constant"
local schema = require "luapilot.schema.schema"

local paths = {}

local KNOWN = 1000  -- paths whose writing is remembered

local GONE = { ENOENT = true, ENOTDIR = true }

---How the paths of a file were written: the absolute path → { text, field }. Of so many; then it begins anew. It hangs
---on the pilot: two of them in one process have two files.
---@return table<string, { text: string, field: string? }>
local function all_written() return schema.pilot and schema.pilot.written or constant.NONE end

local function remember(app, path, text, field)
  local known = app.written and app.written[path]
  if known then
    known.text, known.field = text, known.field or field
    return
  end
  if not app.written or app.paths == KNOWN then app.written, app.paths = {}, 0 end
  app.written[path], app.paths = { text = text, field = field }, app.paths + 1
end

-- Where relative paths lead, with a "/" at its end.
local function directory_of(source)
  local named = source.directory
  return named:find "^/" and named or source.base .. named
end

---The absolute path of one that stands in the file.
---@param text string
---@param field string?    what it is of: for check
---@return string
function paths.absolute(text, field)
  local app = schema.pilot
  if text:find "^/" or text == "" or not (app and app.loader) then return text end
  local whole = directory_of(app.loader) .. text:gsub("^%./+", "")
  remember(app, whole, text, field)
  return whole
end

---A path: a text, which becomes absolute.
---@type luapilot.Type
function paths.type(value, path, report)
  value = schema.text(value, path, report)
  return value and paths.absolute(value, path ~= "" and path or nil)
end

---An argv whose program is named by a relative path: below the pilot.lua's directory. (One that is started in a
---directory of its own is looked for there, by the kernel.)
---@param argv string[]
---@param cwd string?
---@param field string?
---@return string[]
function paths.argv(argv, cwd, field)
  if cwd or not argv[1]:find "^[^/].*/" then return argv end
  local words = { paths.absolute(argv[1], field) }
  for i = 2, #argv do words[i] = argv[i] end
  return words
end

---As the file has it: for messages that name a line of what stands there.
---@param path string
---@return string
function paths.text(path)
  local one = all_written()[path]
  return one and one.text or path
end

-- Whole, as the port has it.
local function quote(path) return '"' .. path .. '"' end

-- The message with something else in the place of the path; nil: the path is not in it.
local function replaced(message, path, instead)
  local first, last = message:find(quote(path), 1, true)
  return first and message:sub(1, first - 1) .. instead .. message:sub(last + 1)
end

---A failure at a path, with how that was written, if otherwise; and that it is there where relative paths were looked
---for before. Where the working directory is the file's own, the path as written says all.
---@param port luapilot.Port
---@param message string
---@param code string?
---@param path string?
---@return string
function paths.explain(port, message, code, path)
  local one = path and all_written()[path]
  if not one then return message end
  local text = quote(one.text)
  if schema.pilot.loader.directory == "" then return replaced(message, path, text) or message end
  message = replaced(message, path, ("%s (written %s)"):format(quote(path), text))
    or ("%s (%s is %s)"):format(message, text, quote(path))
  if not GONE[code] or port.stat(path) or not port.stat(one.text) then return message end
  return ("%s; %s is there in the working directory, but relative paths are relative to the directory of the pilot.lua")
    :format(message, text)
end

---Why a start has failed, where it was a path that it failed at.
---@param stage string?     of port.spawn
---@param cwd string?
---@param argv string[]
---@param file string?      of its log
---@return string
function paths.why(port, message, code, stage, cwd, argv, file)
  if stage == "exec" and cwd and argv[1]:find "^[^/].*/" then
    return replaced(message, argv[1], ("%s (in %s)"):format(quote(argv[1]), quote((cwd:gsub("/%.$", ""))))) or message
  end
  local path = stage == "cwd" and cwd or stage == "exec" and paths.argv(argv, cwd)[1] or stage == "output" and file
  return paths.explain(port, message, code, path or nil)
end

---The same of a job's program.
---@param runner luapilot.Runner
---@return string
function paths.of_job(runner, message, code, stage)
  local spec = runner.spec
  return paths.why(runner.app.port, message, code, stage, spec.cwd, spec.exec, spec.log.file)
end

---All that is remembered, sorted: { path, text, field }.
---@return { path: string, text: string, field: string? }[]
function paths.all()
  local list = {}
  for path, one in pairs(all_written()) do list[#list + 1] = { path = path, text = one.text, field = one.field } end
  table.sort(list, function(a, b) return a.path < b.path end)
  return list
end

return paths
