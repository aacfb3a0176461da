// An echo server with gorilla/websocket and permessage-deflate. It proves nothing by itself:
// client.py compares what comes back.
//
//	websocket-go/server [-port 0]      (built by tests/peers/install)
//
// It answers each message with the same message, of the same kind; and the text `send KIND LENGTH
// SEED` with a message of its own: KIND is `text` or `binary`, its SHA-256 precedes it as a text.
//
// {"event":"open"}   a connection was upgraded; `compressed` says whether it was negotiated
// {"event":"close"}  it ended: `messages`, `bytes`, `pings` seen, `error` as gorilla put it, the
// SHA-256 over the SHA-256 of all messages, in order
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

var upgrader = websocket.Upgrader{EnableCompression: true, ReadBufferSize: 4096, WriteBufferSize: 4096}

func main() {
	port := flag.Int("port", 0, "where to listen, on the loopback interface")
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	http.Serve(listener, http.HandlerFunc(handle))
}

func handle(answer http.ResponseWriter, request *http.Request) {
	connection, err := upgrader.Upgrade(answer, request, nil)
	if err != nil {
		return // the upgrader has answered
	}
	defer connection.Close()
	offered := request.Header.Get("Sec-WebSocket-Extensions")
	event("open", map[string]any{"compressed": strings.Contains(offered, "permessage-deflate")})

	pings, messages, bytes := 0, 0, 0
	pong := connection.PingHandler()
	connection.SetPingHandler(func(payload string) error {
		pings++
		return pong(payload)
	})
	sums := sha256.New()
	for {
		var kind int
		var payload []byte
		kind, payload, err = connection.ReadMessage()
		if err != nil {
			break
		}
		messages++
		bytes += len(payload)
		sum := sha256.Sum256(payload)
		sums.Write(sum[:])
		if kind == websocket.TextMessage && strings.HasPrefix(string(payload[:min(5, len(payload))]), "send ") {
			err = send(connection, string(payload))
		} else {
			err = connection.WriteMessage(kind, payload)
		}
		if err != nil {
			break
		}
	}
	event("close", map[string]any{
		"messages": messages, "bytes": bytes, "pings": pings, "error": err.Error(),
		"sha256": hex.EncodeToString(sums.Sum(nil)),
	})
}

// send makes a message of its own, announced by its SHA-256.
func send(connection *websocket.Conn, command string) error {
	var kind string
	var length int
	var seed int64
	if _, err := fmt.Sscanf(command, "send %s %d %d", &kind, &length, &seed); err != nil {
		return err
	}
	payload := make([]byte, length)
	rand.New(rand.NewSource(seed)).Read(payload)
	opcode := websocket.BinaryMessage
	if kind == "text" {
		opcode = websocket.TextMessage
		for index := range payload {
			payload[index] = 'a' + payload[index]%26
		}
	}
	sum := sha256.Sum256(payload)
	if err := connection.WriteMessage(websocket.TextMessage, []byte(hex.EncodeToString(sum[:]))); err != nil {
		return err
	}
	return connection.WriteMessage(opcode, payload)
}

func event(name string, facts map[string]any) {
	facts["event"] = name
	facts["ms"] = time.Now().UnixMilli()
	line, _ := json.Marshal(facts)
	fmt.Println(string(line))
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
