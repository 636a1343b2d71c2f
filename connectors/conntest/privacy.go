package conntest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// canary stands for personal data: as a key, as a value, in filters and in
// what the system answers, it must not reach the text of an error.
const canary = "canary-5391"

func lifeNoSecretInErrors(ctx context.Context, e *env) error {
	secreter, ok := e.sys.(Secreter)
	if !ok || len(secreter.Secrets()) == 0 {
		return cannot("the system has no credentials")
	}
	secrets := secreter.Secrets()
	return e.eachFault(ctx, strings.Join(secrets, " "), func(f Fault, _ []kedge.Kind, err error) error {
		return keepsQuiet(fmt.Sprintf("fault %+v", f), err, secrets)
	})
}

// keepsQuiet checks that no text is in what can be printed of err.
func keepsQuiet(what string, err error, texts []string) error {
	if err == nil {
		return fmt.Errorf("%s: got no error", what)
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		for _, text := range texts {
			if strings.Contains(cause.Error(), text) {
				return fmt.Errorf("%s: the text of the %T (kind %v) holds what it must not", what, cause, kedge.KindOf(err))
			}
		}
	}
	return nil
}

func lifeNoValueInErrors(ctx context.Context, e *env) error {
	if err := e.put(ctx, widget(canary, set("string", kedge.String(canary)), set("int", kedge.Int(1)))); err != nil {
		return err
	}
	for what, provoke := range e.mistakes(ctx) {
		if err := keepsQuiet(what, provoke(), []string{canary}); err != nil {
			return err
		}
	}
	err := e.eachFault(ctx, "record "+canary+" is broken", func(f Fault, _ []kedge.Kind, err error) error {
		return keepsQuiet(fmt.Sprintf("fault %+v", f), err, []string{canary})
	})
	if _, cant := errors.AsType[*cannotRun](err); cant {
		return nil // the mistakes were made, which every system allows
	}
	return err
}

// mistakes are calls that must fail, with the canary in them.
func (e *env) mistakes(ctx context.Context) map[string]func() error {
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	call := func(ctx context.Context, change func(*connectors.ReadRequest)) func() error {
		return func() error {
			req := request(10, "")
			change(&req)
			_, err := e.driver().ReadPage(ctx, req)
			return err
		}
	}
	return map[string]func() error{
		"a token that is no token":    call(ctx, func(r *connectors.ReadRequest) { r.Token = canary }),
		"an anchor that is no anchor": call(ctx, func(r *connectors.ReadRequest) { r.Anchor = canary + "=" }),
		"a canceled read with a filter": func() error {
			ent, err := e.entity(ctx, Widgets.Name)
			if err != nil {
				return err
			}
			expr, err := bound(ent, "string eq '"+canary+"'")
			if err != nil {
				return err
			}
			return call(canceled, func(r *connectors.ReadRequest) { r.Filter = expr })()
		},
		"a canceled read by key": func() error {
			reader, ok := e.driver().(connectors.KeyReader)
			if !ok {
				return errors.New("not a KeyReader")
			}
			_, err := reader.ReadKeys(canceled, Widgets.Name, []string{"string"}, []kedge.Key{canary})
			return err
		},
		"an unknown field": call(ctx, func(r *connectors.ReadRequest) { r.Fields = []string{"noSuchField"} }),
	}
}
