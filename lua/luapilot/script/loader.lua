-- Loads a pilot.lua in an environment of its own.
--
-- Owns the globals that a pilot.lua sees, its `require` and the checks of its files before anything runs.
-- Each loader is one box: two of them share no global, no module and no library table (but new methods of strings
-- are everybody's). Never runs the chunk it returns. The user's files come through `read`; only
-- installed rocks are loaded from the disk directly, as Lua itself would.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local libraries = require "luapilot.script.libraries"
local mistakes = require "luapilot.base.mistakes"
local strict = require "luapilot.script.strict"

local lexer = lazy.require "luapilot.base.lexer"
local suggest = lazy.require "luapilot.base.suggest"
local syntax = lazy.require "luapilot.base.syntax"

local M = {}

M.LIMIT = 1024 ^ 2 -- bytes of one file: 1M

---@class luapilot.LoaderOptions
---`read` takes a path and a limit in bytes; nil, message and a code such as "ENOENT", "EISDIR" or "EFBIG".
---@field read fun(path: string, limit: integer): string|nil, string|nil, string|nil
---@field api table what require "luapilot" gives
---@field mistakes luapilot.Mistakes
---@field cwd? string the working directory; without it relative paths are read as they are
---@field print? fun(...) default: nothing is printed
---@field searchpath? string where Lua rocks are, default package.path
---@field coroutine? table instead of Lua's library
---@field libraries? table<string, table> functions that stand in for those of a library, by its name
---@field report? fun(err: any) gets what a finaliser raised
---@field streams? table of script/stdio.lua; default: io writes to the real stdout and stderr

---@class luapilot.Loader
---@field env table the globals of the user's code
---@field path string|nil of the main file
---@field directory string of the main file, as it was named: "conf/"
---@field base string the directory in which that name was given: "/srv/", or "" while no code of the user has run
local Loader = {}
Loader.__index = Loader

-- ------------------------------------------------------------------------------------------------ files

local FILE_ERRORS = {
  ENOENT = "there is no such file; luapilot init writes a first one",
  EISDIR = "is a directory: give the file in it, such as %s/pilot.lua",
  EFBIG = "is larger than 1M, which is the limit for a configuration",
  EACCES = "may not be read by this user (permission denied)",
}

local PIPE = "a pipe: write it to a file, and give that FILE, or /dev/stdin <FILE"
local NO_SOURCE = "contains %s: it is no Lua source"

local function read_error(path, message, code)
  local text = FILE_ERRORS[code]
  if not text then
    message = tostring(message or code or "unknown error"):gsub('^cannot %l+ ".*": ', "")
    return "cannot be read: " .. message:gsub("a FIFO, not a file$", PIPE)
  end
  return (text:gsub("%%s", (path:gsub("/+$", ""):gsub("%%", "%%%%"))))
end

-- ":3", the line of a byte.
local function line_of(source, position)
  local _, newlines = source:sub(1, position):gsub("\n", "")
  return ":" .. newlines + 1
end

-- Why it is no text of Lua, and on which line; or nil.
local function refusal(source)
  if #source > M.LIMIT then return ("has %d bytes: it %s"):format(#source, FILE_ERRORS.EFBIG) end
  if source:sub(1, 1) == "\27" then return "is compiled bytecode: give the Lua source" end
  local mark = source:sub(1, 2)
  if mark == "\255\254" or mark == "\254\255" then return "is UTF-16 text: save it as UTF-8" end
  local nul = source:find("\0", 1, true)
  if nul then return NO_SOURCE:format "NUL bytes", line_of(source, nul) end
end

---The text of a file as Lua takes it: without byte order mark and "#!" (the line stays, for the numbers).
---@return string|nil source
---@return string|nil message
---@return string|nil code "ENOENT" and the like
---@return string|nil line ":3", where the message is about one
local function read_source(self, path)
  local whole = path:find "^/" and path or self.base .. path
  local source, message, code = self.read(whole, M.LIMIT)
  if not source then return nil, read_error(path, message, code), code end
  source = source:gsub("^\239\187\191", "")
  local why, line = refusal(source)
  if why then return nil, why, nil, line end
  return (source:gsub("^#[^\n]*", ""))
end

-- ------------------------------------------------------------------------------------- the user's files

---@class luapilot.UserFile
---@field path string
---@field chunk function|nil
---@field where string|nil of what is wrong
---@field message string|nil what is wrong

local function compile(self, path, source)
  local chunk, message = load(source, "@" .. path, "t", self.env)
  if chunk then return { path = path, chunk = chunk } end
  local binary = source:find "[\1-\8\14-\31]"
  if binary then
    return { path = path, where = path .. line_of(source, binary), message = NO_SOURCE:format "binary data" }
  end
  message = syntax.explain(message, source)
  local line, text = message:match "^.-:(%d+): (.*)$"
  return { path = path, where = path .. (line and ":" .. line or ""), message = text or message }
end

---Reads and compiles one of the user's files, once. Nil when there is none.
---@return luapilot.UserFile|nil
local function user_file(self, path)
  if self.files[path] then return self.files[path] end
  local source, message, code, line = read_source(self, path)
  if not source and (code == "ENOENT" or code == "ENOTDIR" or code == "EISDIR") then return nil end
  local file = source and compile(self, path, source)
    or { path = path, where = path .. (line or ""), message = message }
  self.files[path], self.sources[path] = file, source
  self.order[#self.order + 1] = file
  return file
end

-- A relative path, where the pilot.lua is.
local function beside(self, path) return path:find "^/" and path or self.directory .. path end

-- Where a module of the user may be: beside pilot.lua.
local function places(self, name)
  local relative = self.directory .. name:gsub("%.", "/")
  return { relative .. ".lua", relative .. "/init.lua" }
end

local function user_module(self, name)
  for _, path in ipairs(places(self, name)) do
    local file = user_file(self, path)
    if file then return file end
  end
end

local function format_problem(file) return mistakes.format { where = file.where, message = file.message } end

-- The content of "x" or ("x") at a token, when that is the whole argument.
local function literal_argument(tokens, i)
  if tokens[i].text ~= "(" then return tokens[i].value end
  local closed = tokens[i + 2] and tokens[i + 2].text == ")"
  return closed and tokens[i + 1].value or nil
end

-- Can a source name another file? Most pilot.lua require only what is built in: they need not be read token by token.
local function may_name_files(self, source)
  if source:find("dofile", 1, true) then return true end
  local _, stop = source:find("require", 1, true)
  while stop do
    local _, name = source:match("^%s*%(?%s*([\"'])([%w_.-]+)%1", stop + 1)
    if not name or not self.env.package.loaded[name] then return true end
    _, stop = source:find("require", stop + 1, true)
  end
  return false
end

-- The modules and files that a source names literally: require "x", require("x"), dofile "x".
local function named_files(self, source)
  if not may_name_files(self, source) then return {} end
  local tokens, files = lexer.tokens(source), {}
  for i = 1, #tokens - 1 do
    local name = tokens[i].kind == "name" and literal_argument(tokens, i + 1)
    local is_module = tokens[i].text == "require" and name and not self.env.package.loaded[name]
    if is_module then files[#files + 1] = user_module(self, name) end
    if tokens[i].text == "dofile" and name then files[#files + 1] = user_file(self, beside(self, name)) end
  end
  return files
end

---Compiles what a file names, and what that names in turn, without running any of it.
local function compile_all(self, file)
  if file.followed then return end
  file.followed = true
  if file.message then self.mistakes:add(file.where, nil, file.message) end
  for _, other in ipairs(self.sources[file.path] and named_files(self, self.sources[file.path]) or {}) do
    compile_all(self, other)
  end
end

-- ---------------------------------------------------------------------------------------------- require

local LOADING = {}

local function chain(self, path)
  local names = {}
  for i, other in ipairs(self.loading) do
    if other == path or #names > 0 then names[#names + 1] = self.loading[i] end
  end
  names[#names + 1] = path
  return table.concat(names, " -> ")
end

local check_late -- forward

local function run_user_module(self, file, name)
  if file.message then error(format_problem(file), 0) end
  for _, path in ipairs(self.loading) do
    if path == file.path then error("modules require each other in a circle: " .. chain(self, path), 0) end
  end
  check_late(self, file)
  table.insert(self.loading, file.path)
  local ok, result = pcall(file.chunk, name, file.path)
  table.remove(self.loading)
  if not ok then error(result, 0) end
  return result
end

local function from_preload(self, name)
  return self.env.package.preload[name]
end

local function from_user(self, name)
  local file = user_module(self, name)
  return file and function() return run_user_module(self, file, name) end
end

-- A Lua rock: its own copy in each box, in the box's globals.
local function from_rocks(self, name)
  if package.preload[name] then return nil end
  local path = package.searchpath(name, self.env.package.path)
  if not path then return nil end
  local chunk, message = loadfile(path, "bt", self.env)
  if not chunk then error(message, 0) end
  return chunk, path
end

-- What is built in or written in C is one for all boxes: the real require has it.
local function from_lua(self, name)
  local cpath, root = self.env.package.cpath, name:match "^[^.]*"
  local built_in = package.preload[name] or package.loaded[name]
  if not (built_in or package.searchpath(name, cpath) or package.searchpath(root, cpath)) then return nil end
  return function()
    local before = package.cpath
    package.cpath = cpath
    local ok, result = pcall(require, name)
    package.cpath = before
    if not ok then error(result, 0) end
    return result
  end
end

local function not_found(self, name)
  local looked = table.concat(places(self, name), " nor ")
  local hint = suggest.near(name, { "luapilot" }) and ' (did you mean "luapilot"?)' or ""
  return ("module %s not found%s: there is neither %s, nor such a rock or library on package.path and "
    .. "package.cpath"):format(describe.quote(name), hint, looked)
end

local function check_name(name)
  if type(name) ~= "string" then error("require expects a module's name, got " .. describe.value(name), 3) end
  if name:find "^luapilot[./]" then
    local advice = name:find "^luapilot[./]sim" and 'the simulator is for specs (luapilot test)'
      or "it is an inner part of luapilot"
    error(("%s cannot be required in a pilot.lua: %s; require \"luapilot\" has all there is")
      :format(describe.quote(name), advice), 3)
  end
end

local function run_loader(loaded, name, loader, extra)
  loaded[name] = LOADING
  local ok, result = pcall(loader, name, extra)
  if loaded[name] == LOADING then loaded[name] = nil end -- unless the module set it by itself
  if not ok then error(result, 0) end
  if result ~= nil then loaded[name] = result end
  if loaded[name] == nil then loaded[name] = true end
  return loaded[name]
end

local SEARCHERS = { from_preload, from_user, from_rocks, from_lua }

local function require_module(self, name)
  local loaded = self.env.package.loaded
  if loaded[name] ~= nil and loaded[name] ~= LOADING then return loaded[name] end
  for _, search in ipairs(SEARCHERS) do
    local loader, extra = search(self, name)
    if loader then
      if loaded[name] == LOADING and search ~= from_user then
        error(("module %s requires itself, perhaps through others"):format(describe.quote(name)), 3)
      end
      return run_loader(loaded, name, loader, extra)
    end
  end
  error(not_found(self, name), 3)
end

-- ------------------------------------------------------------------------------------------ environment

local function chunk_functions(self)
  local env = self.env

  function env.load(chunk, name, mode, ...)
    if select("#", ...) > 0 then return load(chunk, name, mode, (...)) end
    return load(chunk, name, mode, env)
  end

  function env.loadstring(text, name) return load(text, name or text, nil, env) end

  function env.loadfile(path, _, ...)
    if type(path) ~= "string" then return nil, "loadfile expects a path, got " .. describe.value(path) end
    local given = path
    path = beside(self, path)
    local file = user_file(self, path)
    if not file then
      return nil, ("%s: there is no such file%s"):format(path,
        path ~= given and (" (%s is relative to the directory of the pilot.lua)"):format(describe.quote(given)) or "")
    end
    if file.message then return nil, format_problem(file) end
    local chunk = load(self.sources[path], "@" .. path, "t", env)
    return select("#", ...) > 0 and setfenv(chunk, (...)) or chunk
  end

  function env.dofile(path)
    local chunk, message = env.loadfile(path)
    if not chunk then error(message, 2) end
    return chunk()
  end

  function env.require(name)
    check_name(name)
    local module = require_module(self, name) -- no tail call: errors count the levels up to the user
    return module
  end
end

-- The `module` of Lua 5.1, which old rocks still use: one whose modules live in this box.
local function module_function(self)
  local env = self.env
  return function(name, ...)
    local loaded = env.package.loaded
    local module = type(loaded[name]) == "table" and loaded[name] ~= LOADING and loaded[name] or {}
    module._M, module._NAME, module._PACKAGE = module, name, name:match "^(.*%.)[^.]*$" or ""
    loaded[name] = module
    local parent = env
    for part in name:gmatch "([^.]+)%." do
      parent[part] = parent[part] or {}
      parent = parent[part]
    end
    parent[name:match "[^.]*$"] = module
    setfenv(2, module)
    for _, option in ipairs { ... } do option(module) end
  end
end

local function fill_package(self, searchpath)
  local env = self.env
  local loaded = { _G = env, luapilot = self.api, string = env.string }
  for _, name in ipairs(libraries.names) do loaded[name] = env[name] end
  env.package.path, env.package.loaded, loaded.package = searchpath, loaded, env.package
end

local function build_env(self, options)
  local env = { print = options.print or function() end }
  env._G, self.env = env, env
  env.package = {
    cpath = package.cpath, config = package.config, preload = {}, searchpath = package.searchpath,
    loadlib = package.loadlib, seeall = function(module) setmetatable(module, { __index = env }) end,
  }
  libraries.lay(env, options)
  chunk_functions(self)
  fill_package(self, options.searchpath or package.path)
  env.module = module_function(self)
end

-- --------------------------------------------------------------------------------------------- the loader

---@param options luapilot.LoaderOptions
---@return luapilot.Loader
function M.new(options)
  local self = setmetatable({
    read = options.read, api = options.api, mistakes = options.mistakes,
    directory = "", base = "", cwd = options.cwd,
    files = {},   -- the user's files by path
    order = {},   -- … and in the order of their reading
    sources = {},
    loading = {}, -- paths of the user's files that run now, for circles
    scanned = 0,  -- so many of `order` were searched for the globals that they set
    set = {},
  }, Loader)
  build_env(self, options)
  return self
end

---Reads and compiles the main file, and the modules that it names beside it. Runs nothing.
---@param path string
---@return function|nil chunk nil after a mistake in this file
function Loader:load(path)
  local stream = path == "/dev/stdin" or path:find "^/dev/fd/" -- which have no directory
  self.path, self.directory = path, not stream and path:match "^(.*/)[^/]*$" or ""
  local source, message, _, line = read_source(self, path)
  if not source then
    self.mistakes:add(path .. (line or ""), nil, message)
    return nil
  end
  local file = compile(self, path, source)
  self.files[path], self.sources[path] = file, source
  self.order[#self.order + 1] = file
  self.loading = { path }
  compile_all(self, file)
  if self.cwd then self.base = self.cwd:gsub("/$", "") .. "/" end -- a script may change it from now on
  return file.chunk
end

-- The globals that any of the user's files sets. Each file is searched once, however many are checked late.
local function globals_set(self)
  while self.scanned < #self.order do
    self.scanned = self.scanned + 1
    local chunk = self.order[self.scanned].chunk
    for _, use in ipairs(chunk and strict.globals(chunk) or {}) do
      if use.set then self.set[use.name] = true end
    end
  end
  return self.set
end

-- Modules that nobody named literally are checked when they are loaded; it is too late to go on then.
function check_late(self, file)
  if file.checked then return end
  file.checked = true
  local list = strict.check({ file.chunk }, self.env, self.sources, globals_set(self))
  if list[1] then error(mistakes.format(list[1]), 0) end
end

---Looks for undefined globals in all of the user's files read so far; adds them to the mistakes.
---@return boolean fine
function Loader:globals_check()
  local chunks = {}
  for _, file in ipairs(self.order) do
    file.checked = true
    chunks[#chunks + 1] = file.chunk
  end
  local list = strict.check(chunks, self.env, self.sources)
  for _, mistake in ipairs(list) do self.mistakes:add(mistake.where, mistake.path, mistake.message) end
  return #list == 0
end

---Is this the source (as of debug.getinfo) of one of the user's own files?
---@param source string
---@return boolean
function Loader:is_user(source)
  return source:sub(1, 1) == "@" and self.files[source:sub(2)] ~= nil
end

return M
