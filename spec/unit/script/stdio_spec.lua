-- io.write, io.stdout and io.stderr of a pilot.lua: lines of the log.
local boxes = require "support.boxes"
local masks = require "luapilot.base.masks"
local stdio = require "luapilot.script.stdio"

describe("what a pilot.lua writes by io", function()
  after_each(boxes.check)

  local function said(box, level)
    local list = {}
    for _, entry in ipairs(box:log()) do
      if entry.level == level and not entry.message:find "^nothing is left" and entry.message ~= "ended" then
        list[#list + 1] = entry.message
      end
    end
    return list
  end

  local function run(body)
    local box = boxes.run(("pilot.on('startup', function() %s end)"):format(body))
    box:advance "5s"
    assert.is_true(box.ended)
    return box
  end

  it("comes line by line, whatever it was put together from", function()
    local box = run [[
      io.write("one", 2, " ", 3.5, "\nnext")
      pilot.sleep "1s"
      io.stdout:write(" line\n", "\nlast\n")
      io.flush() io.stdout:flush() io.stdout:setvbuf "no"
    ]]
    assert.same({ "one2 3.5", "next line", "", "last" }, said(box, "info"))
    assert.near(1, box:log()[2].at, 0.01)
  end)

  it("comes at the end when it has no newline: of the file, and of the pilot", function()
    local box = boxes.run [[
      io.write "loading"
      pilot.on("startup", function() io.write "rest" io.stderr:write "of errors" end)
    ]]
    box:advance "1s"
    assert.is_true(box.ended)
    assert.same({ "loading", "rest" }, said(box, "info"))
    assert.same({ "of errors" }, said(box, "warn"))
  end)

  it("comes as warnings when it is for stderr", function()
    local box = run [[ io.stderr:write("careful\nmore\n") ]]
    assert.same({ "careful", "more" }, said(box, "warn"))
  end)

  it("hides secrets, as any line", function()
    local box = boxes.load([[
      pilot.secret "token"
      pilot.on("startup", function() io.write("the token is s3cr3t-token\n") end)
    ]], { files = { ["/run/secrets/token"] = "s3cr3t-token" } })
    box:start()
    box:advance "1s"
    assert.is_nil(table.concat(said(box, "info"), "\n"):find("s3cr3t", 1, true))
  end)

  it("is an error at the user's line when it is no text", function()
    local box = run [[
      print(select(2, pcall(io.write, "a", {})))
      print(select(2, pcall(io.stdout.write, io.stdout, nil)))
    ]]
    local list = said(box, "info")
    assert.is_truthy(list[1]:find("bad argument #2 to 'write' (string expected, got table)", 1, true), list[1])
    assert.is_truthy(list[2]:find("bad argument #1 to 'write' (string expected, got nil)", 1, true), list[2])
    assert.equal("a", list[3]) -- what was written before it
  end)

  it("is to a file as Lua knows it", function()
    local box = run [[
      print(io.type(io.stdout), io.type(io.stderr), io.type(7), tostring(io.stdout), io.stdout == require "io".stdout)
      print(select(2, io.close()), select(2, io.stdout:read()))
      print(select("#", io.stdout:close()), io.stdout:seek())
      print(pcall(io.stdout.lines, io.stdout))
      io.stdout.write = nil
      io.stdout:write "still there\n"
    ]]
    assert.same({
      "file\tfile\tnil\tfile (stdout)\ttrue", "cannot close standard file\tBad file descriptor\t9",
      "2\tnil\tIllegal seek\t29", "false\tBad file descriptor", "still there",
    }, said(box, "info"))
  end)

  -- Without a box: files are real there.
  local function library(hidden)
    local lines, own = {}, {}
    local streams = { masks = function() return hidden end }
    function streams.log(level, line) -- as the app's, it hides what is whole in a line
      lines[#lines + 1] = level .. " " .. (hidden and hidden:cover(line) or line)
    end
    stdio.lay(own, streams)
    return own, lines, streams
  end

  it("goes to another file from io.output on", function()
    local own, lines = library()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    own.write "here\n"
    local file = own.output(path)
    own.write("there", 1)
    assert.equal("file", own.type(file))
    assert.equal(file, own.output())
    assert.is_true(own.close())
    own.output(own.stdout)
    own.write "again\n"
    assert.same({ "info here", "info again" }, lines)
    local written = assert(io.open(path))
    assert.equal("there1", written:read "*a")
    written:close()
    assert.is_false((pcall(own.output, "/nosuch/file")))
  end)

  it("comes in parts when a line is long, and nothing is kept of it", function()
    local own, lines, streams = library()
    local part = ("x"):rep(1000)
    for _ = 1, 150 do own.write(part) end
    own.write "\n"
    streams.rest()
    assert.equal(3, #lines)
    assert.same({ 65536 + 5, 65536 + 5, 150000 - 2 * 65536 + 5 }, { #lines[1], #lines[2], #lines[3] })
  end)

  it("cuts no character of a long line in two", function()
    local own, lines, streams = library()
    own.write("x", ("é"):rep(40000))
    streams.rest()
    assert.same({ "info x" .. ("é"):rep(32767), "info " .. ("é"):rep(40000 - 32767) }, lines)
  end)

  local function hiding(...)
    local hidden = masks.new()
    for _, text in ipairs { ... } do hidden:add(text) end
    return hidden
  end

  it("shows no part of a secret, wherever a long line is cut", function()
    local secret = "s3cr3t-token-of-32-bytes-0123456"
    for _, pieces in ipairs { 1, 2, 40 } do -- the line is written at once, in two, byte by byte around the cut
      for before = 65536 - #secret - 1, 65536 + 1, 3 do
        local own, lines = library(hiding(secret, "other"))
        local line = ("x"):rep(before) .. secret .. ("y"):rep(70000) .. secret
        local head = pieces == 1 and #line or 65536 + 7
        own.write(line:sub(1, head - pieces))
        for at = head - pieces + 1, head do own.write(line:sub(at, at)) end
        own.write(line:sub(head + 1), "\n")
        local text = table.concat(lines, "|")
        for at = 1, #secret - 3 do assert.is_nil(text:find(secret:sub(at, at + 3), 1, true)) end
        assert.equal(2, select(2, text:gsub("%*%*%*", "")))
        assert.equal(before + 70000, select(2, text:gsub("[xy]", "")))
      end
    end
  end)

  it("hides many secrets in a long line, too", function()
    local list = {}
    for i = 1, 40 do list[i] = ("secret-number-%04d"):format(i) end
    local own, lines = library(hiding(unpack(list)))
    own.write(table.concat(list, " "):rep(200), "\n")
    local text = table.concat(lines, "\n")
    assert.is_nil(text:find "secret" or text:find "numb" or text:find "%d")
    assert.is_true(#lines > 1)
  end)

  it("holds no more than it must", function()
    local own, lines = library(hiding "twenty-bytes-of-text")
    own.write(("x"):rep(65536 + 20))
    assert.equal(0, #lines)
    own.write "x"
    assert.equal(1, #lines)
    assert.equal(65536 + 5, #lines[1])
  end)

  it("leaves functions alone that a box has put there", function()
    local own = { output = "theirs" }
    stdio.lay(own, { log = function() end })
    assert.equal("theirs", own.output)
    assert.equal("function", type(own.write))
  end)
end)
