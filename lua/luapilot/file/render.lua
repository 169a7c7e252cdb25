-- render: a template and its data become a file, which a validator may refuse.
--
-- One render, under its lock: what a killed pilot left is put back; the data is asked for (it may wait); text is made
-- of it and compared with what is there; if it is another text it is written beside the file, checked, and put in its
-- place.
--
--   validate with the word {file}    the candidate is checked, then swapped: nobody ever sees a wrong file
--   validate without it              swapped, checked, put back: between the two the file is on trial, and no job
--                                    starts or reloads
--
-- It owns the locks, one for each file that a path leads to, and the place of each (file/swap.lua) for as long as its
-- lock lasts. Its functions are methods of Trials: file/trials.lua, which keeps what is on trial, lends them with the
-- first render. What is expected to fail comes back as nil and a message; only what the user's own functions raise is
-- raised.

local describe = require "luapilot.base.describe"
local lazy = require "luapilot.base.lazy"
local paths = require "luapilot.schema.paths"
local slices = require "luapilot.file.slices"

local program = lazy.require "luapilot.job.program"
local swap = lazy.require "luapilot.file.swap"
local task = lazy.require "luapilot.task.task"
local template = lazy.require "luapilot.file.template"
local mutex = lazy.require "luapilot.task.mutex"

local render = {}

local TEMPLATE_LIMIT = 1024 ^ 2     -- bytes
local VALIDATOR_TIMEOUT = 60        -- seconds
local SAID_LIMIT = 64 * 1024        -- bytes of its output that are read
local SHOWN = 500                   -- … that are shown
local KNOWN = 1000                  -- directories, and places, that are remembered as in order

---@class luapilot.RenderSpec
---@field to string
---@field source string?      path of the template, or
---@field text string?        the template itself
---@field data table|fun(): table
---@field mode integer?
---@field owner { user: string|integer|nil, group: string|integer|nil }?
---@field validate string[]?  an argv

---What file/trials.lua lends to every Trials: `self` is that.
---@class luapilot.Trials
local Trials = {}
render.methods = Trials

-- --- what was left ---------------------------------------------------------------------------

-- Is it the first time? Of so many is remembered, no more.
local function is_new(self, list, key)
  local known = self[list]
  if not known or known.count == KNOWN then known = { count = 0, keys = {} } end
  self[list] = known
  if known.keys[key] then return false end
  known.keys[key], known.count = true, known.count + 1
  return true
end

---Once in each directory: new files that killed pilots left are removed.
---@private
function Trials:tidy(place)
  if is_new(self, "tidied", place.directory) then swap.tidy(place) end
end

---What killed pilots left at a place is put in order: at the start where a path stands in the file, else before
---somebody else than a render writes there for the first time, and not in the middle of a render.
---@param place luapilot.Place
---@return string? message      the old file could not be put back
function Trials:put_in_order(place)
  if self.mutex and self.mutex:is_locked(place.target) or not is_new(self, "in_order", place.target) then return nil end
  self:tidy(place)
  local message = self:put_back_left_over(place)
  if message then self.in_order.keys[place.target] = nil end
  return message
end

---@private
---@param place luapilot.Place
---@return string? message
function Trials:put_back_left_over(place)
  local target = place.target
  local how, message = swap.recover(place)
  if how then
    local what = how == "restored" and "put back the old %q: the new one had never been accepted"
      or "removed %q: it had never been accepted"
    self.app:log("warn", what:format(target), nil, "file_restored", nil, { file = target })
  end
  return message
end

-- --- the text --------------------------------------------------------------------------------

---@private
function Trials:store()
  self.templates = self.templates or template.store(self.app.loader.env)
  return self.templates
end

---What is wrong with a template that stands in the file itself, or nil.
---@param text string
---@return string?
function Trials:mistake(text)
  local _, message = self:store():compile(text, "line")
  return message and message:gsub("^line:", "line ")
end

local function data_of(spec)
  if type(spec.data) ~= "function" then return spec.data end
  local data = spec.data()
  if type(data) == "table" then return data end
  return nil, "data: the function must return a table, got " .. describe.value(data)
end

local function text_of(self, spec)
  local source, message, code = spec.text, nil, nil
  if not source then source, message, code = self.app.port.read(spec.source, TEMPLATE_LIMIT) end
  if not source then return nil, paths.explain(self.app.port, message, code, spec.source) end
  local name = spec.source and paths.text(spec.source) or "text"
  local compiled
  compiled, message = self:store():compile(source, name)
  if not compiled then return nil, message end
  local data
  data, message = data_of(spec)
  if not data then return nil, message end
  return compiled:run(data, name)
end

-- --- the verdict -----------------------------------------------------------------------------

local function names_candidate(words)
  for _, word in ipairs(words) do
    if word:find("{file}", 1, true) then return true end
  end
  return false
end

local function with_candidate(words, path)
  local argv = {}
  for i, word in ipairs(words) do argv[i] = word:gsub("{file}", (path:gsub("%%", "%%%%"))) end
  return argv
end

-- As the user would type it: what has blanks in it, in quotes.
local function shown(words)
  local list = {}
  for i, word in ipairs(words) do list[i] = word:find "[%s\"']" and describe.quote(word) or word end
  return table.concat(list, " ")
end

-- All `what` in a text becomes `instead`.
local function replaced(text, what, instead)
  local parts, at = {}, 1
  for first, last in function() return text:find(what, at, true) end do
    parts[#parts + 1] = text:sub(at, first - 1) .. instead
    at = last + 1
  end
  return table.concat(parts) .. text:sub(at)
end

-- With {file} for the path of the candidate, which is another one each time and is gone when somebody reads this.
-- Secrets are hidden before it is cut: of the rest of one the log would not know.
local function refusal(app, words, path, result)
  local said = result.stderr ~= "" and result.stderr or result.stdout
  if app.masks then said = app.masks:cover_first(said, SAID_LIMIT) end
  said = replaced(said:gsub("%s+$", ""), path, "{file}")
  if #said > SHOWN then said = "…" .. said:sub(-SHOWN) end
  return ("%s refuses it (%s)%s"):format(shown(words),
    program.describe_exit(result, VALIDATOR_TIMEOUT), said ~= "" and ": " .. said or "")
end

-- Runs the validator on `path`. When its task is cancelled, `undo` is called at once, whatever the task does then.
local function verdict(self, spec, path, undo)
  local app, words = self.app, with_candidate(spec.validate, path)
  local result, message = app.tasks:await("pilot.render", function(wake)
    local added, cancel, why
    added, why = app:environment {}
    if added then
      local options = { argv = paths.argv(words), env_added = added }
      local limits = { timeout = VALIDATOR_TIMEOUT, max_output = SAID_LIMIT + (app.masks and app.masks.longest or 0) }
      cancel, why = program.start(app.loop, options, limits, wake)
    end
    if not cancel then wake(nil, why) end
    return function()
      if cancel then cancel() end
      undo()
    end
  end)
  if not result then return nil, message end
  local left, count = program.left(result)
  if left then
    app:log("warn", ("the validator %s %s"):format(shown(spec.validate), left), nil, "left_behind", nil,
      { program = spec.validate[1], ended = count })
  end
  if result.code == 0 then return true end
  return nil, refusal(app, spec.validate, names_candidate(spec.validate) and path or "\0", result)
end

-- --- one render ------------------------------------------------------------------------------

local function numbers_of(self, spec)
  local look, owner = { mode = spec.mode }, spec.owner or {}
  for _, pair in ipairs { { "user", "uid" }, { "group", "gid" } } do
    local kind, field = unpack(pair)
    look[field] = owner[kind]
    if type(owner[kind]) == "string" then
      local number, message = self.app.port.lookup(kind, owner[kind])
      if not number then return nil, "owner: " .. message end
      look[field] = number
    end
  end
  return look
end

-- Checks the candidate, then swaps.
local function check_then_swap(self, spec, lock, new)
  local path, message = new:candidate()
  local ok
  if path then ok, message = verdict(self, spec, path, lock.undo) end
  if ok then return new:commit(false) end
  lock.undo()
  return nil, message
end

-- Swaps, then checks.
local function swap_then_check(self, spec, lock, new)
  local ok, message = new:commit(true)
  if not ok then return nil, message end
  self:trial_begins()
  local over = false
  local function finish(accepted)
    if over then return end
    over, lock.undo = true, nil
    local back, why = true, nil
    if accepted then new:accept() else back, why = new:put_back() end
    if not back then self.app:log("error", why, nil, "file_not_restored", nil, { file = spec.to }) end
    self:trial_ends()
  end
  local function undo() finish(false) end
  lock.undo = undo
  ok, message = verdict(self, spec, lock.place.target, undo)
  finish(ok)
  return ok, message
end

local function put(self, spec, lock, new)
  if not spec.validate then return new:commit(false) end
  if names_candidate(spec.validate) then return check_then_swap(self, spec, lock, new) end
  return swap_then_check(self, spec, lock, new)
end

local function is_dressed(look, stat)
  for field, value in pairs(look) do
    if stat[field] ~= value then return false end
  end
  return true
end

-- Between two slices of a large file others have their turns.
local function pause_of(self)
  return function() self.app.tasks:sleep(0, "pilot.render") end
end

-- The steps of one render. Nil and a message, or whether the file is another one now.
local function work(self, spec, lock)
  local place, pause = lock.place, pause_of(self)
  self:tidy(place)
  local message = self:put_back_left_over(place)
  if message then return nil, message end
  local look, text, old, stat
  look, message = numbers_of(self, spec)
  if not look then return nil, message end
  text, message = text_of(self, spec)
  if not text then return nil, message end
  if #text > slices.limit then return nil, ("the text has %d bytes: 64 MiB is the most"):format(#text) end
  old, stat = place:read(pause)
  if old == nil then return nil, stat end
  if old == text and is_dressed(look, stat) then return false end
  local new = swap.new(place, text, look, pause)
  function lock.undo() new:discard() end
  local ok, why = new:write()
  if ok and old == text then ok, why = new:commit(false) elseif ok then ok, why = put(self, spec, lock, new) end
  lock.undo = nil
  if ok then
    self.app:log("info", ("rendered %q"):format(paths.text(spec.to)), nil, "rendered", nil, { file = spec.to })
  end
  return ok, why
end

-- A lock ends with its place, and with what was not finished there.
local function clean_up(lock)
  return function()
    if lock.undo then lock.undo() end
    if lock.place then lock.place:close() end
  end
end

-- The lock of the file that a path leads to. While we wait for it the path may come to lead elsewhere.
local function enter(self, path)
  self.mutex = self.mutex or mutex.new(self.app.tasks)
  while true do
    local place, message, code = swap.place(self.app.port, path)
    if not place then return nil, paths.explain(self.app.port, message, code, path) end
    place:close()
    local lock
    lock, message = self.mutex:lock(place.target, "pilot.render")
    if not lock then return nil, message end
    lock.cleanup = clean_up(lock)
    lock.place = swap.place(self.app.port, path)
    if lock.place and lock.place.target == place.target then return lock end
    lock:unlock()
  end
end

---Renders a file; waits. What the data's functions raise is raised.
---@param spec luapilot.RenderSpec
---@return boolean? changed
---@return string? message
function Trials:render(spec)
  local lock, message = enter(self, spec.to)
  if not lock then return nil, message end
  local ok, changed, why = xpcall(work, task.error, self, spec, lock)
  lock:unlock()
  if not ok then task.raise_again(changed) end
  return changed, why
end

---Ends what is under way, as if its tasks had been cancelled: they will not run again.
function Trials:let_go()
  if self.mutex then self.mutex:unlock_all() end
end

return render
