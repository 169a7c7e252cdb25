local hints = require "luapilot.net.hints"

describe("hints", function()
  it("knows what may be done about a failure", function()
    assert.matches("nobody listens there: is it running", hints.of("connection refused", "ECONNREFUSED"))
    assert.matches("is the path right", hints.of("no such file", "ENOENT"))
    assert.equal("is the name right?", hints.of("cannot resolve api", "EAI_NONAME"))
    assert.equal("timeout allows more", hints.of("no answer", "ETIMEDOUT"))
  end)

  it("tells certificates apart", function()
    assert.matches("cafile", hints.of("its certificate is signed by nobody known", "ECERT"))
    assert.matches("servername", hints.of("its certificate is for another name", "ECERT"))
    assert.is_nil(hints.of("it has expired", "ECERT"))
  end)

  it("knows TLS where none is spoken", function()
    assert.matches("http://", hints.of("no TLS with c:8500: SSL routines::wrong version number", "ETLS"), 1, true)
    assert.is_nil(hints.of("no TLS with c:8500: handshake failure", "ETLS"))
  end)

  it("is silent where there is nothing to say", function()
    assert.is_nil(hints.of("connection reset", "ECONNRESET"))
    assert.is_nil(hints.of("?", nil))
  end)
end)
