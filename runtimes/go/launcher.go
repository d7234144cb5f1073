// The main program of an action that is a function: a line of JSON per call on standard input, the result as one
// line on descriptor 3. build.sh puts the function's name in the place of Main, and this file beside the action's.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"
)

var (
	xebecContext = reflect.TypeOf((*context.Context)(nil)).Elem()
	xebecError   = reflect.TypeOf((*error)(nil)).Elem()
)

func main() {
	action, err := xebecActionOf(Main)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	results := os.NewFile(3, "results")
	fmt.Fprintln(results, `{"ok":true}`)
	calls := bufio.NewReader(os.Stdin)
	for {
		line, err := calls.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the calls cannot be read:", err)
			os.Exit(1)
		}
		if _, err := results.Write(append(action.answer(line), '\n')); err != nil {
			fmt.Fprintln(os.Stderr, "the result cannot be written:", err)
			os.Exit(1)
		}
	}
}

// A function with what is known of its arguments and results.
type xebecAction struct {
	function    reflect.Value
	withContext bool
	// What its argument is; nil: it takes none.
	argument reflect.Type
	// Which of its results is the result, and which its error; -1: none is.
	result, failure int
}

func xebecActionOf(function any) (*xebecAction, error) {
	value := reflect.ValueOf(function)
	kind := value.Type()
	if kind.Kind() != reflect.Func {
		return nil, errors.New("the action is no function")
	}
	action := &xebecAction{function: value, result: -1, failure: -1}
	wrong := fmt.Errorf("the action is a %s; it may take a context and one value, and return one value and an error", kind)
	taken := 0
	if kind.NumIn() > 0 && kind.In(0) == xebecContext {
		action.withContext = true
		taken = 1
	}
	if kind.NumIn() > taken {
		action.argument = kind.In(taken)
		taken++
	}
	if kind.IsVariadic() || kind.NumIn() > taken || kind.NumOut() > 2 {
		return nil, wrong
	}
	for number := 0; number < kind.NumOut(); number++ {
		switch {
		case kind.Out(number) == xebecError && number == kind.NumOut()-1:
			action.failure = number
		case number == 0:
			action.result = number
		default:
			return nil, wrong
		}
	}
	return action, nil
}

func (action *xebecAction) answer(line []byte) []byte {
	result, err := action.call(line)
	if err == nil {
		var encoded []byte
		if encoded, err = json.Marshal(result); err == nil {
			return encoded
		}
	}
	fmt.Fprintln(os.Stderr, err)
	// A map of texts is always JSON.
	encoded, _ := json.Marshal(map[string]string{"error": err.Error()})
	return encoded
}

func (action *xebecAction) call(line []byte) (any, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return nil, err
	}
	ctx := context.Background()
	for name, value := range fields {
		var text string
		if name == "value" || json.Unmarshal(value, &text) != nil {
			continue
		}
		os.Setenv("__OW_"+strings.ToUpper(name), text)
		if milliseconds, err := strconv.ParseInt(text, 10, 64); err == nil && name == "deadline" {
			limited, cancel := context.WithDeadline(ctx, time.UnixMilli(milliseconds))
			defer cancel()
			ctx = limited
		}
	}
	var arguments []reflect.Value
	if action.withContext {
		arguments = append(arguments, reflect.ValueOf(&ctx).Elem())
	}
	if action.argument != nil {
		argument := reflect.New(action.argument)
		value := fields["value"]
		if len(value) == 0 {
			value = json.RawMessage("{}")
		}
		if err := json.Unmarshal(value, argument.Interface()); err != nil {
			return nil, err
		}
		arguments = append(arguments, argument.Elem())
	}
	results := action.function.Call(arguments)
	if action.failure >= 0 {
		if err, failed := results[action.failure].Interface().(error); failed && err != nil {
			return nil, err
		}
	}
	if action.result < 0 {
		return struct{}{}, nil
	}
	return results[action.result].Interface(), nil
}
