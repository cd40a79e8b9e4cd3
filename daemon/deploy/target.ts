// Where `aegisd deploy` can deploy to: apart, so that the command line names it without loading what makes a deployment.
export const TARGETS = ['dstack', 'systemd'] as const;
export type Target = (typeof TARGETS)[number];
