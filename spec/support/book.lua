-- docs/cookbook.md as the specs see it: the files that a recipe shows, run where their paths are those of the page.
--
--   local cron = book.recipe "Cron"
--   local p = cron:run()                      luapilot run /etc/pilot.lua, as PID 1, with the files of the recipe
--   p = cron:run { change = { ["/etc/pilot.lua"] = { { "0 3 * * *", "0 3 * *" } } } }      somebody's mistake
--   p = cron:run { pilot = "/etc/front/pilot.lua", wrap = { "setpriv", … } }
--   cron:saw(p, "What to see")                every line of the logs shown there has come
--   cron:complains(p, "a text")               every line of the one block with that text, of what goes wrong
--   cron:try(p, "What to see")                the commands shown there, typed there, say what they say there
--   book.enter(p, "kill -USR2 1")             any other command; returns its program
--
-- What is looked for on a page:
--
--   a line that ends with `/a/path`:          the block that follows is that file
--   ```text                                   lines of a log, without their times
--   ```console                                "$ a command", and all that it writes; without any, it succeeds
--
-- In both a number stands for any number, but for the line of a pilot.lua, and … for any text: pids and times differ
-- each time. A line … of what a command writes stands for any lines.
--
-- The place is a mount and a PID namespace, in the network that the spec has entered: /etc is a copy of the machine's,
-- the directories that recipes write into are empty. Nothing outside changes.

local machine = require "support.machine"
local run     = require "support.run"

local book = {}

local PAGE = "docs/cookbook.md"

---@class spec.Recipe
---@field files table<string, string>                  path → text
---@field blocks { under: string?, kind: string, lines: string[] }[]
local Recipe = {}
Recipe.__index = Recipe

-- --- reading -----------------------------------------------------------------------------------------

-- The lines below a heading of the second level.
local function section(title)
  local lines
  for line in (run.read(PAGE) .. "\n"):gmatch "([^\n]*)\n" do
    local heading = line:match "^## (.*)"
    if heading and lines then break end
    if heading == title then lines = {} end
    if lines then lines[#lines + 1] = line end
  end
  return assert(lines, PAGE .. " has no recipe " .. title)
end

-- { kind, lines, path, under } of each fenced block.
local function blocks_of(lines)
  local blocks, open, under, before = {}, nil, nil, ""
  for _, line in ipairs(lines) do
    local kind = line:match "^```(%a*)"
    if kind and open then
      open = nil
    elseif kind then
      open = { kind = kind, under = under, path = before:match "`(/[^`]+)`:$", lines = {} }
      blocks[#blocks + 1] = open
    elseif open then
      table.insert(open.lines, line)
    elseif line ~= "" then
      before, under = line, line:match "^### (.*)" or under
    end
  end
  return blocks
end

---@param title string         its heading
---@return spec.Recipe
function book.recipe(title)
  local recipe = setmetatable({ title = title, files = {}, blocks = blocks_of(section(title)) }, Recipe)
  for _, block in ipairs(recipe.blocks) do
    if block.path then recipe.files[block.path] = table.concat(block.lines, "\n") .. "\n" end
  end
  return recipe
end

-- --- running -----------------------------------------------------------------------------------------

-- A copy of /etc, and room where recipes write, owned as Debian's packages left it. The first place has what is
-- mounted meanwhile.
local ROOM = [[
  mkdir place && mount -t tmpfs -o mode=755 tmpfs place && cp -a /etc/. place && mount --move place /etc &&
  for dir in /srv /run /var/lib/nginx /var/lib/postgresql; do
    if [ -d $dir ]; then mount -t tmpfs -o $(stat -c mode=%a,uid=%u,gid=%g $dir) tmpfs $dir; fi
  done]]

-- Commands that put the files where they belong, and what they are in the program's own directory until then.
local function installed(files)
  local command, here = {}, {}
  for path, text in pairs(files) do
    local name = path:gsub("/", "_")
    here[name] = text
    command[#command + 1] = ("install -D -m %s %s %s"):format(text:find "^#!" and "755" or "644", name, path)
  end
  return table.concat(command, " && "), here
end

local function changed(text, changes)
  for _, change in ipairs(changes) do
    local from, to = text:find(change[1], 1, true)
    assert(from, "the page has no more " .. change[1])
    text = text:sub(1, from - 1) .. change[2] .. text:sub(to + 1)
  end
  return text
end

---@class spec.BookOptions
---@field pilot string?        default "/etc/pilot.lua"
---@field command string?      default "run"; or "check"
---@field change table<string, string[][]>?            path → { { what the page has, what takes its place }, … }
---@field files table<string, string>?                 more of them
---@field room string?         shell commands, before it starts
---@field wrap string[]?       in front of luapilot
---@field env table<string, string|false>?

---Skips where there are no such namespaces.
---@param options spec.BookOptions?
---@return spec.Program
function Recipe:run(options)
  options = options or {}
  machine.need_mounts()
  machine.need_pids()
  local files = {}
  for path, text in pairs(self.files) do files[path] = text end
  for path, text in pairs(options.files or {}) do files[path] = text end
  for path, changes in pairs(options.change or {}) do files[path] = changed(files[path], changes) end
  local command, here = installed(files)
  local wrap = { "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
    ROOM .. " && " .. command .. (options.room and " && " .. options.room or "") .. ' && cd / && exec "$0" "$@"' }
  for _, word in ipairs(options.wrap or {}) do wrap[#wrap + 1] = word end
  return run.luapilot({ options.command or "run", options.pilot or "/etc/pilot.lua" }, {
    files = here, wrap = wrap, env = options.env,
  })
end

---Runs a shell command where the program lives, in its root directory. --root, because this machine may be a chroot
---(tools/fresh): who enters a mount namespace leaves that, and has no working directory any more.
---@param p spec.Program
---@param command string
---@return spec.Program
function book.enter(p, command)
  local enter = { "nsenter", "--target", tostring(p:guardian()), "--mount", "--root", "--wdns=/", "--pid",
    "sh", "-c", command }
  return run.program(enter, {
    env = { PATH = run.binary:match "^(.*)/" .. ":" .. os.getenv "PATH" }, -- luapilot is on it
  })
end

-- --- what the page says ------------------------------------------------------------------------------

-- Digits that stand for themselves, and back.
local function kept(digits) return (digits:gsub("%d", function(digit) return string.char(digit + 16) end)) end
local function digit_of(byte) return string.char(byte:byte() + 32) end

-- A line of the page as a pattern; 0.25 may be 1 another time, and 58.3s 1m. Lines of a file are those of the page.
local function pattern_of(line)
  local pattern = line:gsub("pilot%.lua:%d+", kept):gsub("…", "\1"):gsub("%d[%d.]*%f[^%d.]", "\2")
    :gsub("\2s%f[%W]", "\3"):gsub("%p", "%%%0"):gsub("\1", ".*"):gsub("\2", "%%d[%%d.]*")
  return (pattern:gsub("\3", "%%d[%%d.hms]*"):gsub("[\16-\25]", digit_of))
end

local function lines_under(recipe, heading, kind)
  local list = {}
  for _, block in ipairs(recipe.blocks) do
    if block.kind == kind and block.under == heading then
      for _, line in ipairs(block.lines) do list[#list + 1] = line end
    end
  end
  assert(#list > 0, ("%s: %s shows no %s under %s"):format(PAGE, recipe.title, kind, heading))
  return list
end

---Waits until the log has every line that is shown.
---@param p spec.Program
---@param heading string
function Recipe:saw(p, heading)
  for _, line in ipairs(lines_under(self, heading, "text")) do p:wait_for_line(pattern_of(line)) end
end

---Waits for every line of the one block under "What goes wrong first" that has such a text.
---@param p spec.Program
---@param text string
function Recipe:complains(p, text)
  local found = {}
  for _, block in ipairs(self.blocks) do
    if block.kind == "text" and block.under == "What goes wrong first"
      and table.concat(block.lines, "\n"):find(text, 1, true) then found[#found + 1] = block end
  end
  assert(#found == 1, ("%d blocks of the page have %q"):format(#found, text))
  for _, line in ipairs(found[1].lines) do p:wait_for_line(pattern_of(line)) end
end

-- { command, lines } of each that is shown.
local function commands_under(recipe, heading)
  local list = {}
  for _, line in ipairs(lines_under(recipe, heading, "console")) do
    local command = line:match "^%$ (.*)"
    if command then
      list[#list + 1] = { command = command, lines = {} }
    else
      table.insert(list[#list].lines, line)
    end
  end
  return list
end

-- The lines from `at` on are those that are shown from `from` on, and no others; … alone is any number of them.
local function are(lines, at, shown, from)
  if shown[from] == "…" then
    return are(lines, at, shown, from + 1) or lines[at] ~= nil and are(lines, at + 1, shown, from)
  end
  if not shown[from] or not lines[at] then return shown[from] == lines[at] end
  return lines[at]:find("^" .. pattern_of(shown[from]) .. "$") and are(lines, at + 1, shown, from + 1)
end

-- Does a command say that, and nothing else? One of which nothing is shown must succeed as well.
local function says(p, shown)
  local code, lines = p:wait(), {}
  for line in p:output():gmatch "[^\n]+" do lines[#lines + 1] = line end
  return are(lines, 1, shown, 1) and (#shown > 0 or code == 0)
end

---Types the commands that are shown, each until it says what the page says.
---@param p spec.Program
---@param heading string
function Recipe:try(p, heading)
  for _, each in ipairs(commands_under(self, heading)) do
    p:wait_for(each.command .. " to say what the page says", function()
      return says(book.enter(p, each.command), each.lines)
    end)
  end
end

return book
