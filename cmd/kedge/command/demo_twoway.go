package command

import (
	"context"
	"fmt"
	"io"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/syncer"
)

// demoTwoWay edits both sides, shows how the edits are merged, and resolves the
// one conflict.
func (a *app) demoTwoWay(ctx context.Context, out io.Writer, s *syncer.Syncer, service *odatatest.Service) error {
	records := service.Records("customers")
	if len(records) < 10 {
		return nil
	}
	one, two := records[6], records[7]
	fmt.Fprintf(out, "\n5. both sides edit customer %s, one its city, one its email; and both give customer %s another name\n", one.Key, two.Key)
	err := service.Patch("customers",
		odatatest.Row("No", one.Get("No"), "Address/City", kedge.String("Porto")),
		odatatest.Row("No", two.Get("No"), "Name", kedge.String("Named by the service")))
	if err != nil {
		return err
	}
	for _, edit := range [][3]string{{"email", "edited@here.example", string(one.Key)}, {"name", "Named here", string(two.Key)}} {
		if _, err := a.store.DB().ExecContext(ctx, "UPDATE customer SET "+edit[0]+" = ? WHERE no = ?", edit[1], edit[2]); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\n6. kedge sync demo: different fields are merged on both sides; the name waits for a person\n")
	if err := demoRun(ctx, out, s, service); err != nil {
		return err
	}
	return a.demoResolve(ctx, out, s, service)
}

// demoResolve ends the demo's conflict with the local value.
func (a *app) demoResolve(ctx context.Context, out io.Writer, s *syncer.Syncer, service *odatatest.Service) error {
	open, err := s.Conflicts(ctx, syncer.ConflictQuery{Integration: "demo"})
	if err != nil || len(open) == 0 {
		return err
	}
	sides, err := open[0].Sides()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n7. kedge conflicts show, then resolve --take local, and kedge sync demo\n")
	for _, f := range sides {
		if f.Conflict {
			fmt.Fprintf(out, "   %s of %s: base %q, local %q, remote %q\n", f.Field, open[0].LocalKey, textOf(f.Base), textOf(f.Local), textOf(f.Remote))
		}
	}
	if _, err := s.ResolveConflict(ctx, open[0].ID, syncer.Resolution{Take: syncer.TakeLocal, By: "demo"}); err != nil {
		return err
	}
	if err := demoRun(ctx, out, s, service); err != nil {
		return err
	}
	for _, r := range service.Records("customers") {
		if r.Key == open[0].ExternalKey {
			fmt.Fprintf(out, "   the service has now: %s\n", r.Get("Name").Text())
		}
	}
	return nil
}
