package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// The mappings that an integration can start with.
const (
	presetNone            = "none"
	presetBusinessCentral = "businesscentral"
)

func checkPreset(name string) error {
	switch name {
	case "", presetNone, presetBusinessCentral:
		return nil
	}
	return usagef("preset %q: there are %s and %s", name, presetBusinessCentral, presetNone)
}

// firstMapping is what a new integration starts with: the preset that is asked
// for, or else the one that fits the other side.
func (a *app) firstMapping(ctx context.Context, s *syncer.Syncer, preset, external, integration string) (*mapping.Mapping, error) {
	asked := preset != ""
	if !asked {
		conn, err := a.connect(ctx, external, integration)
		if err != nil {
			return nil, err
		}
		if p, ok := conn.Driver().(connectors.Presetter); ok {
			preset = p.Preset()
		}
		if err := conn.Close(); err != nil {
			return nil, err
		}
	}
	if preset != presetBusinessCentral {
		return mapping.Parse(integration, []byte(emptyMapping))
	}
	ext, err := s.SchemaOf(ctx, external, integration)
	if err != nil {
		return nil, fmt.Errorf("reading what to map (start with nothing by --preset %s): %w", presetNone, err)
	}
	m := mapping.BusinessCentral(ext)
	if asked && len(m.Entities) == 0 {
		return nil, usage(&kedge.Error{Kind: kedge.Invalid, Err: errors.New("the other side has none of RescoCustomer, RescoContact and RescoServiceOrder, which the preset maps")})
	}
	return m, nil
}
